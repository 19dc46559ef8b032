"""The relay: gives events their positions, and has Temporal carry their deliveries.

Each worker runs one. What a relay leaves undone when it dies, another one does.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Sequence

from temporalio.api.workflowservice.v1 import ResetActivityExecutionRequest
from temporalio.client import Client
from temporalio.common import ActivityIDReusePolicy, RetryPolicy
from temporalio.exceptions import ActivityAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from record import Events, RecordError
from webhooks.sending import Sender

DELIVERY_QUEUE = "webhook-deliveries"

INTERVAL = 1.0
"""Seconds between two looks for new events."""

LEFT_AFTER = 10.0
"""Seconds after which a delivery that nobody has begun is begun by any relay, and between two looks
for such ones."""

BEGUN_AT_ONCE = 5
"""How many deliveries a relay begins at the same time: as many as pollers wait for them. What meets
no poller costs Temporal's database twice as much."""

LEFT_AT_ONCE = 50
"""How many left-over ones a relay begins with each look; for more it looks again at once."""

DELIVERIES = 20
"""How many deliveries a worker has under way."""

TRY_LIMIT = dt.timedelta(seconds=90)
"""After this long a try is lost with its worker: the receiver's limit, and those of the record."""

RETRY = RetryPolicy(
    initial_interval=dt.timedelta(seconds=5), maximum_interval=dt.timedelta(minutes=1)
)
"""When a try is repeated that was lost, or has found the record away."""

logger = logging.getLogger(__name__)


class Relay:
    """Passes events on. Without `deliver` it only gives positions, and asks nothing of Temporal."""

    def __init__(self, client: Client, events: Events, *, deliver: bool) -> None:
        self._client, self._events, self._deliver = client, events, deliver
        self._look_back_at = 0.0

    async def pass_on_for_ever(self) -> None:
        """Pass on at intervals. An outage is logged; what it leaves is passed on after it."""
        while True:
            pause = LEFT_AFTER
            try:
                pause = 0.0 if await self.pass_on() else INTERVAL
            except (RecordError, RPCError) as error:
                logger.warning("Events wait: %s", error)
            except Exception:
                logger.exception("The relay failed")
            await asyncio.sleep(pause)

    async def pass_on(self) -> bool:
        """Begin the deliveries of new events and, now and then, of those that are left over.

        Tells whether more of these are left.
        """
        while new := await self._events.number(deliver=self._deliver):
            await self._begin([(event_id, False) for event_id in new])
        if not self._deliver or time.monotonic() < self._look_back_at:
            return False
        left = await self._events.left_over(LEFT_AFTER, LEFT_AT_ONCE)
        await self._begin([(each.event_id, each.delivery == "again") for each in left])
        more = len(left) == LEFT_AT_ONCE
        if not more:
            self._look_back_at = time.monotonic() + LEFT_AFTER
        return more

    async def _begin(self, deliveries: Sequence[tuple[str, bool]]) -> None:
        for at in range(0, len(deliveries), BEGUN_AT_ONCE):
            some = deliveries[at : at + BEGUN_AT_ONCE]
            await asyncio.gather(*(self._start(*each) for each in some))
            await self._events.note_begun([event_id for event_id, _ in some])

    async def _start(self, event_id: str, again: bool) -> None:
        """Have Temporal carry a delivery. If it does so already, or has done, nothing changes.

        `again`: what waits for its next try is tried at once, what has ended begins anew.
        """
        policy = ActivityIDReusePolicy
        if again and await self._try_at_once(event_id):
            return
        with contextlib.suppress(ActivityAlreadyStartedError):
            await self._client.start_activity_method(
                Sender.deliver_event,
                event_id,
                id=event_id,
                task_queue=DELIVERY_QUEUE,
                start_to_close_timeout=TRY_LIMIT,
                retry_policy=RETRY,
                id_reuse_policy=policy.ALLOW_DUPLICATE if again else policy.REJECT_DUPLICATE,
            )

    async def _try_at_once(self, event_id: str) -> bool:
        """Have a delivery tried at once; tell whether Temporal still carries it."""
        namespace = self._client.namespace
        request = ResetActivityExecutionRequest(namespace=namespace, activity_id=event_id)
        try:
            await self._client.workflow_service.reset_activity_execution(request, retry=True)
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                return False
            raise
        return True


def delivery_worker(client: Client, sender: Sender, grace: float) -> Worker:
    """Return the worker that sends events, not yet started; it has `grace` seconds to stop.

    Its queue is its own: a dead receiver delays no trip.
    """
    return Worker(
        client,
        task_queue=DELIVERY_QUEUE,
        activities=[sender.deliver_event],
        max_concurrent_activities=DELIVERIES,
        graceful_shutdown_timeout=dt.timedelta(seconds=grace),
    )
