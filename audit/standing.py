"""How the workflow that acts on a trip stands, by what Temporal tells of it."""

from typing import Literal

from temporalio.client import WorkflowExecutionStatus

from bookings import BookingNotFound, TripWorkflows, acting_workflow, asking_temporal
from record import RecordedTrip
from shared import SagaPolicy, TripStatus

Standing = TripStatus | Literal["stopped"] | None
"""The workflow is running, has ended so, or was stopped from outside. `None`: Temporal knows of no
such workflow."""


async def standing(workflows: TripWorkflows, row: RecordedTrip) -> Standing:
    """Return how the workflow stands. Raises `TemporalUnavailable` and `TemporalRefuses`."""
    try:
        with asking_temporal():
            description = await workflows.acting(row)
            if description is None:
                return None
            if description.status == WorkflowExecutionStatus.RUNNING:
                return "running"
            ending = await workflows.ending(description)
    except BookingNotFound:
        return None  # It was forgotten between the two questions.
    return "stopped" if ending is None else ending[0]


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
