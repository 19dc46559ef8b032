"""How the workflow that acts on a trip stands, by what Temporal tells of it."""

from typing import Literal

from temporalio.client import WorkflowExecutionStatus

from bookings import BookingNotFound, TripWorkflows, acting_workflow, asking_temporal
from record import RecordedTrip
from shared import SagaPolicy, TripStatus

STATUS_OF_RESULT: dict[str, TripStatus] = {
    "success": "booked",
    "failure": "rolled_back",
    "cancelled": "cancelled",
}

Standing = TripStatus | Literal["stopped"] | None
"""The workflow is running, has ended so, or was stopped from outside; `None`: Temporal does not
know it, or not any more."""


async def standing(workflows: TripWorkflows, row: RecordedTrip) -> Standing:
    """Return how the workflow stands. Raises `TemporalUnavailable` and `TemporalRefuses`."""
    try:
        with asking_temporal():
            description = await workflows.acting(row)
            match description and description.status:
                case None:
                    return None
                case WorkflowExecutionStatus.RUNNING:
                    return "running"
                case WorkflowExecutionStatus.CANCELED:
                    return "cancelled"
                case WorkflowExecutionStatus.COMPLETED:
                    result = await workflows.result(acting_workflow(row))
                    return STATUS_OF_RESULT[result["status"]]
    except BookingNotFound:
        return None  # It was forgotten between the two questions.
    return "stopped"


async def policy_of(workflows: TripWorkflows, row: RecordedTrip) -> SagaPolicy | None:
    """Return the policy that the trip's workflow was started with, if Temporal knows it.

    Raises as `standing` does.
    """
    try:
        with asking_temporal():
            book_input = await workflows.input_in_history(acting_workflow(row))
    except BookingNotFound:
        return None
    return None if book_input is None else book_input.policy
