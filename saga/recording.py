"""How a workflow tells the record of its trip. Workflow code."""

import datetime as dt
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from shared import (
        RECORD_STUCK_UNDO,
        RECORD_TRIP,
        TELL_SETTINGS,
        BookVacationInput,
        Kind,
        SagaPolicy,
        TripNews,
        TripStatus,
    )

RECORDING_LIMIT = dt.timedelta(seconds=15)
"""The most that one try to tell the record may take; the record itself gives up earlier."""

PATIENCE = RetryPolicy(
    initial_interval=dt.timedelta(seconds=0.2), maximum_interval=dt.timedelta(seconds=10)
)


async def record_ending(
    book_input: BookVacationInput, status: TripStatus, reason: str | None
) -> None:
    """Tell the record how the trip has ended, for as long as it takes.

    Raises `ActivityError` when the workflow is cancelled meanwhile.
    """
    news = TripNews(status, reason, workflow.now(), workflow.info().workflow_start_time)
    await _record(RECORD_TRIP, book_input, news)


async def record_stuck_undo(book_input: BookVacationInput, kind: Kind, words: str) -> None:
    """Tell the record that the undo of a step is stuck. Raises as `record_ending` does."""
    await _record(RECORD_STUCK_UNDO, book_input, kind, words)


async def settings_of_worker() -> SagaPolicy:
    """Return the policy that the settings of the worker say."""
    policy: SagaPolicy = await workflow.execute_local_activity(
        TELL_SETTINGS,
        result_type=SagaPolicy,
        start_to_close_timeout=RECORDING_LIMIT,
        retry_policy=PATIENCE,
    )
    return policy


async def _record(activity: str, *told: Any) -> None:
    # A local activity, because it ends in the workflow task that closes the workflow.
    # https://docs.temporal.io/local-activity
    await workflow.execute_local_activity(
        activity, args=told, start_to_close_timeout=RECORDING_LIMIT, retry_policy=PATIENCE
    )
