"""What surrounds every try of an activity: heartbeats while it runs, and reports of how it goes.

The activities stay free of both. An interceptor is the SDK's place for such concerns:
https://docs.temporal.io/develop/python/interceptors
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.service import RPCError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from shared import REPORT_TRY_SIGNAL, TryReport, step_of

REPORT_TIMEOUT = dt.timedelta(seconds=1)


class TryInterceptor(Interceptor):
    """Surrounds each try of an activity with heartbeats and reports."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _SurroundedTry(next)


class _SurroundedTry(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if info.attempt > 1:
            await _leave_dead_worker(info)
            await _report(info, error=None)
        try:
            async with _heartbeats(info.heartbeat_timeout):
                return await super().execute_activity(input)
        except Exception as error:
            if _will_be_retried(info, error):
                await _report(info, error=str(error))
            raise


@asynccontextmanager
async def _heartbeats(deadline: dt.timedelta | None) -> AsyncIterator[None]:
    """Heartbeat at a third of the deadline, so that only a dead or frozen worker misses it."""
    if deadline is None:
        yield
        return
    heart = asyncio.create_task(_beat(deadline.total_seconds() / 3))
    try:
        yield
    finally:
        heart.cancel()


async def _beat(interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        activity.heartbeat()


def _will_be_retried(info: activity.Info, error: Exception) -> bool:
    # The end of the last try reaches the workflow anyway, as the activity's failure.
    policy = info.retry_policy
    if policy is None or type(error).__name__ in (policy.non_retryable_error_types or ()):
        return False
    return policy.maximum_attempts == 0 or info.attempt < policy.maximum_attempts


async def _leave_dead_worker(info: activity.Info) -> None:
    """Let any worker take the workflow's next task, at once.

    Whoever ran the try before may be dead, and the workflow's next task would wait in the queue of
    its own until it times out (`sticky_queue_schedule_to_start_timeout`). That costs a live worker
    a replay of the workflow, which takes milliseconds.
    https://docs.temporal.io/sticky-execution
    """
    workflow = WorkflowExecution(workflow_id=info.workflow_id or "")
    request = ResetStickyTaskQueueRequest(namespace=info.namespace, execution=workflow)
    try:
        await activity.client().workflow_service.reset_sticky_task_queue(
            request, timeout=REPORT_TIMEOUT
        )
    except RPCError as lost:
        activity.logger.info("Could not unstick %s: %s", info.workflow_id, lost)


async def _report(info: activity.Info, error: str | None) -> None:
    """Tell the workflow; the report only serves who watches, so a lost one is logged and let go."""
    kind, undo = step_of(info.activity_type)
    workflow = activity.client().get_workflow_handle(
        info.workflow_id or "", run_id=info.workflow_run_id
    )
    try:
        await workflow.signal(
            REPORT_TRY_SIGNAL,
            TryReport(kind, undo, info.attempt, error),
            rpc_timeout=REPORT_TIMEOUT,
        )
    except RPCError as lost:
        activity.logger.info("Could not report try %d of %s: %s", info.attempt, kind, lost)
