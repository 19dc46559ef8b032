"""Which workers poll for trips, as Temporal sees it: for the readiness of API and worker."""

import datetime as dt

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCError

from shared import TASK_QUEUE_NAME

RPC_TIMEOUT = dt.timedelta(seconds=5)

POLLER_AGE = dt.timedelta(seconds=75)
"""A live worker asks for work at least once a minute. An older poll is a dead worker's."""

Version = tuple[str, str]
"""A deployment and a build of it."""

UNVERSIONED: Version = ("", "")


async def nobody_takes_trips(client: Client) -> str | None:
    """Return why no worker takes a trip that starts now, as Temporal sees it; `None`: one does.

    Raises `RPCError`.
    """
    queue = await described_queue(client)
    polled = {_version_of(poller) for poller in _recent(queue)}
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


async def not_polling(client: Client) -> str | None:
    """Return why no worker of this client polls for trips, as Temporal sees it; `None`: one does.

    This asks Temporal, because a worker that is cut off does not notice it. A worker whose version
    is not current counts as polling: it has the trips that began with its version, or an
    operator waits for it in order to make it current.
    """
    try:
        queue = await described_queue(client)
    except RPCError as error:
        return f"Temporal cannot be asked: {error.status.name}"
    if client.identity not in {poller.identity for poller in _recent(queue)}:
        return f"The worker does not poll the task queue {TASK_QUEUE_NAME}"
    return None


async def described_queue(client: Client) -> DescribeTaskQueueResponse:
    """Return what Temporal says of the trips' task queue. Raises `RPCError`.

    The question is about workflow tasks: a worker whose slots are all taken does not poll for
    activities.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE_NAME),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return await client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)


def _recent(queue: DescribeTaskQueueResponse) -> list[PollerInfo]:
    oldest = dt.datetime.now(dt.UTC) - POLLER_AGE
    return [each for each in queue.pollers if each.last_access_time.ToDatetime(dt.UTC) > oldest]


def _version_of(poller: PollerInfo) -> Version:
    options = poller.deployment_options
    if options.worker_versioning_mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
        return UNVERSIONED
    return options.deployment_name, options.build_id
