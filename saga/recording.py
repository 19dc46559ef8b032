"""How a workflow tells the record of its trip. Workflow code."""

import datetime as dt
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from shared import (
        RECORD_HOLD,
        RECORD_STUCK_UNDO,
        RECORD_TRIP,
        TELL_SETTINGS,
        BookVacationInput,
        HeldTrip,
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


async def record_status(
    book_input: BookVacationInput,
    began: dt.datetime,
    status: TripStatus,
    reason: str | None = None,
) -> None:
    """Tell the record how the trip stands or has ended, for as long as it takes.

    `began`: since when somebody waits for that. Raises `ActivityError` when the workflow is
    cancelled meanwhile.
    """
    await _locally(RECORD_TRIP, book_input, TripNews(status, reason, workflow.now(), began))


async def record_hold(
    book_input: BookVacationInput, began: dt.datetime, seconds: float
) -> HeldTrip:
    """Tell the record that the trip is held, by us for so long, and return what suppliers say.

    Raises as `record_status` does.
    """
    news = TripNews("held", None, workflow.now(), began)
    told: HeldTrip = await _locally(RECORD_HOLD, book_input, news, seconds, result_type=HeldTrip)
    return told


async def record_stuck_undo(book_input: BookVacationInput, kind: Kind, words: str) -> None:
    """Tell the record that the undo of a step is stuck. Raises as `record_status` does."""
    await _locally(RECORD_STUCK_UNDO, book_input, kind, words)


async def settings_of_worker() -> SagaPolicy:
    """Return the policy that the settings of the worker say."""
    policy: SagaPolicy = await _locally(TELL_SETTINGS, result_type=SagaPolicy)
    return policy


async def _locally(activity: str, *told: Any, result_type: type | None = None) -> Any:
    # A local activity, because it ends in the workflow task that closes the workflow.
    # https://docs.temporal.io/local-activity
    return await workflow.execute_local_activity(
        activity,
        args=told,
        result_type=result_type,
        start_to_close_timeout=RECORDING_LIMIT,
        retry_policy=PATIENCE,
    )
