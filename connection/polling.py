"""Which workers poll for trips, as Temporal sees it: for the readiness of API and worker."""

import datetime as dt
import time
from collections.abc import Callable

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCError

from shared import TASK_QUEUE_NAME

RPC_TIMEOUT = dt.timedelta(seconds=5)

POLLER_AGE = 75.0
"""Seconds. A live worker asks for work at least once a minute. An older poll is a dead worker's."""

Version = tuple[str, str]
"""A deployment and a build of it."""

UNVERSIONED: Version = ("", "")


class Polls:
    """Who polls for trips, as Temporal lists them to one client.

    A poll's age is counted from when this process has first seen it, because Temporal's clock may
    differ from this host's. So a worker that was dead already when this process began to ask counts
    as polling for `POLLER_AGE`.
    """

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._first_seen: dict[tuple[str, int], float] = {}

    async def nobody_takes_trips(self) -> str | None:
        """Return why no worker takes a trip that starts now, as Temporal sees it; `None`: one does.

        Raises `RPCError`.
        """
        queue = await described_queue(self._client)
        polled = {_version_of(poller) for poller in self._recent(queue)}
        if not polled:
            return f"No worker is polling the task queue {TASK_QUEUE_NAME}"
        # https://docs.temporal.io/production-deployment/worker-deployments/worker-versioning
        routing = queue.versioning_info
        current, ramping = routing.current_deployment_version, routing.ramping_deployment_version
        chosen = current if routing.ramping_version_percentage < 100 else ramping
        takes = chosen.deployment_name, chosen.build_id
        if takes in polled:
            return None
        if takes == UNVERSIONED:
            others = ", ".join(" ".join(version) for version in sorted(polled))
            return f"No version of the worker is current; polling: {others}"
        return f"No worker of the current version, {' '.join(takes)}, is polling"

    async def not_polling(self) -> str | None:
        """Return why no worker of this client polls, as Temporal sees it; `None`: one does.

        This asks Temporal, because a worker that is cut off does not notice it. A worker whose
        version is not current counts as polling: it has the trips that began with its version, or
        an operator waits for it in order to make it current.
        """
        try:
            queue = await described_queue(self._client)
        except RPCError as error:
            return f"Temporal cannot be asked: {error.status.name}"
        if self._client.identity not in {poller.identity for poller in self._recent(queue)}:
            return f"The worker does not poll the task queue {TASK_QUEUE_NAME}"
        return None

    def _recent(self, queue: DescribeTaskQueueResponse) -> list[PollerInfo]:
        now = self._clock()
        polls = {_poll_of(poller): poller for poller in queue.pollers}
        self._first_seen = {poll: self._first_seen.get(poll, now) for poll in polls}
        return [polls[poll] for poll, seen in self._first_seen.items() if now - seen < POLLER_AGE]


def namespace_of(client: Client) -> str:
    """Return the namespace of a client, as protobuf takes it: also of one that is a mock."""
    return str(getattr(client, "namespace", "default"))


async def described_queue(client: Client) -> DescribeTaskQueueResponse:
    """Return what Temporal says of the trips' task queue. Raises `RPCError`.

    The question is about workflow tasks: a worker whose slots are all taken does not poll for
    activities.
    """
    request = DescribeTaskQueueRequest(
        namespace=namespace_of(client),
        task_queue=TaskQueue(name=TASK_QUEUE_NAME),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return await client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)


def _poll_of(poller: PollerInfo) -> tuple[str, int]:
    return poller.identity, poller.last_access_time.ToNanoseconds()


def _version_of(poller: PollerInfo) -> Version:
    options = poller.deployment_options
    if options.worker_versioning_mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
        return UNVERSIONED
    return options.deployment_name, options.build_id
