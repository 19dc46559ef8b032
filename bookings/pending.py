"""What the server alone knows of a running step: how often it was tried, and why it failed."""

from collections.abc import Iterable

from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.converter import DataConverter
from temporalio.exceptions import FailureError

from saga import LOST, WORKER_SHUTDOWN, words_for_travellers
from shared import Kind, StepProgress, StepState, step_of

BEGUN: dict[bool, StepState] = {False: "booking", True: "undoing"}
"""The state of a step whose booking, or undo, is under way."""


async def show_pending(
    pending: Iterable[PendingActivityInfo], steps: Iterable[StepProgress], converter: DataConverter
) -> None:
    """Add to the steps of a running trip what its pending activities tell.

    The workflow has counted the first try of an activity when it scheduled it.
    """
    by_kind = {step.kind: step for step in steps}
    for activity in pending:
        kind, undo = step_of(activity.activity_type.name)
        step = by_kind.get(kind)
        # The steps were asked for a moment later: this activity may be over.
        if step is None or step.state != BEGUN[undo]:
            continue
        add_tries(step, activity.attempt - 1, undo=undo)
        if activity.HasField("last_failure"):
            step.last_error = await why(kind, activity.last_failure, converter)


def add_tries(step: StepProgress, tries: int, *, undo: bool) -> None:
    """Count so many tries more of the step's booking, or of its undo."""
    if undo:
        step.undo_attempts += tries
    else:
        step.attempts += tries


async def why(kind: Kind, failure: Failure, converter: DataConverter) -> str:
    """Return why a try failed, in the supplier's words where there are any."""
    error_type = failure.application_failure_info.type
    if failure.HasField("timeout_failure_info") or error_type == WORKER_SHUTDOWN:
        return LOST
    error = await converter.decode_failure(failure)
    message = error.message if isinstance(error, FailureError) else str(error)
    return words_for_travellers(kind, error_type, message)
