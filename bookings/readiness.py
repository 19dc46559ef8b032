"""Whether trips can be booked at all."""

import datetime as dt

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from bookings.asking import asking_temporal
from bookings.errors import TemporalRefuses, TemporalUnavailable
from bookings.temporal import RPC_TIMEOUT, TripsInTemporal
from record import RecordError
from shared import TASK_QUEUE_NAME

POLLER_AGE = dt.timedelta(seconds=75)
"""A live worker asks for work at least once a minute; an older poller is a dead worker's."""


class Readiness(TripsInTemporal):
    """Tells whether trips can be booked."""

    async def check_ready(self) -> str | None:
        """Return what keeps trips from being booked, or `None` when nothing does."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE_NAME),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            # First: a worker whose record is not there does not poll.
            await self._record.prepare()
            with asking_temporal():
                answer = await self._client.workflow_service.describe_task_queue(
                    request, timeout=RPC_TIMEOUT
                )
        except TemporalUnavailable:
            return "Temporal cannot be reached"
        except (TemporalRefuses, RecordError) as error:
            return str(error)
        oldest = dt.datetime.now(dt.UTC) - POLLER_AGE
        polls = (poller.last_access_time.ToDatetime(dt.UTC) for poller in answer.pollers)
        if not any(poll > oldest for poll in polls):
            return f"No worker is polling the task queue {TASK_QUEUE_NAME}"
        return None
