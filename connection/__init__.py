"""The way to Temporal: how a process connects, and how long it waits for that.

It knows nothing of trips. Where Temporal is stands in `settings.py`.
"""

import asyncio
import datetime as dt
import logging
import re
from collections.abc import Sequence

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
)
from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RetryConfig, RPCError, RPCStatusCode

from shared import TASK_QUEUE_NAME

__all__ = ["connect", "lazy_client", "not_polling", "recent_pollers"]

logger = logging.getLogger(__name__)

RPC_RETRY = RetryConfig(max_elapsed_time_millis=2_000)
"""An RPC to Temporal is retried for two seconds: long enough for a blip, short enough for a 503
while the caller still listens. Waits for results are repeated by their callers."""

COMPRESSION = GrpcCompression.NONE
"""Our messages have a few kB at the most. To compress them, as the SDK does by default, costs 8% of
the CPU that a booking takes, and 10 to 15% of a look-up's."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to connect."""
RPC_TIMEOUT = dt.timedelta(seconds=5)

POLLER_AGE = dt.timedelta(seconds=75)
"""A live worker asks for work at least once a minute; an older poll was a dead one's."""

BAD_CREDENTIALS = re.compile(r"\bcode: (PermissionDenied|Unauthenticated)\b")
"""The SDK tells a failed connect by a text only; this is how tonic writes the codes in it."""


async def connect(
    config: ClientConnectConfig, runtime: Runtime | None = None, plugins: Sequence[Plugin] = ()
) -> Client:
    """Connect to Temporal, waiting for as long as it, or the namespace, is not there.

    What it waits for is logged once, however long it lasts. Without a `runtime` the SDK's default
    one is used.
    """
    address = config["target_host"]
    said: set[str] = set()
    while True:
        try:
            client = await Client.connect(
                **config,
                retry_config=RPC_RETRY,
                grpc_compression=COMPRESSION,
                runtime=runtime,
                plugins=plugins,
            )
            obstacle = await _obstacle(client, address)
        except RuntimeError as error:
            obstacle = f"Waiting for Temporal at {address}: {error}"
            if BAD_CREDENTIALS.search(str(error)):
                obstacle = _refuses(address)
        if obstacle is None:
            logger.info("Connected to Temporal at %s", address)
            return client
        if obstacle not in said:
            logger.warning("%s", obstacle)
            said.add(obstacle)
        await asyncio.sleep(RETRY_INTERVAL)


async def lazy_client(
    config: ClientConnectConfig, runtime: Runtime | None = None, plugins: Sequence[Plugin] = ()
) -> Client:
    """Return a client that connects on its first call, so the API can serve before Temporal."""
    return await Client.connect(
        **config,
        retry_config=RPC_RETRY,
        grpc_compression=COMPRESSION,
        lazy=True,
        runtime=runtime,
        plugins=plugins,
    )


async def recent_pollers(client: Client) -> set[str]:
    """Return the identities of the workers that poll for trips, as Temporal sees them.

    It is asked about workflow tasks: for activities a worker does not poll while all its slots are
    taken. Raises `RPCError`.
    """
    answer = await _describe_queue(client)
    oldest = dt.datetime.now(dt.UTC) - POLLER_AGE
    return {
        poller.identity
        for poller in answer.pollers
        if poller.last_access_time.ToDatetime(dt.UTC) > oldest
    }


async def not_polling(client: Client) -> str | None:
    """Return why no worker of this client polls for trips, as Temporal sees it; `None`: one does.

    Temporal is asked, because a worker that is cut off from it goes on and does not notice.
    """
    try:
        pollers = await recent_pollers(client)
    except RPCError as error:
        return f"Temporal cannot be asked: {error.status.name}"
    if client.identity not in pollers:
        return f"The worker does not poll the task queue {TASK_QUEUE_NAME}"
    return None


async def _obstacle(client: Client, address: str) -> str | None:
    """Return why a worker of this client could not work, `None` if it could.

    The SDK ends a worker whose namespace is not there. A new one is described seconds before the
    server lets anybody work in it, so the question is one of those that a worker asks.
    """
    try:
        await _describe_queue(client)
    except RPCError as error:
        match error.status:
            case RPCStatusCode.NOT_FOUND:
                return (
                    f"Waiting: the Temporal namespace '{client.namespace}' does not exist "
                    f"at {address}"
                )
            case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNAUTHENTICATED:
                return _refuses(address)
            case _:
                return f"Waiting for Temporal at {address}: {error.message}"
    return None


async def _describe_queue(client: Client) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE_NAME),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return await client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)


def _refuses(address: str) -> str:
    return f"Waiting: Temporal at {address} refuses the credentials"
