"""Which trip a workflow is about, for logs and traces."""

from shared import cancelled_trip

OF_TRIPS = frozenset({"BookingWorkflow", "CancelBookingWorkflow"})
"""The types of the workflows whose ids are trips' ids. An audit's, say, is not."""


def trip_of(workflow_type: str | None, workflow_id: str | None) -> str | None:
    """Return the id of the trip that a workflow is about, `None` if it is about no one trip."""
    if workflow_id is None or workflow_type not in OF_TRIPS:
        return None
    return cancelled_trip(workflow_id) or workflow_id
