"""Looking a trip up as it stands, its cancellation included."""

import asyncio
from dataclasses import replace

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus

from bookings.asking import asking_temporal
from bookings.callers import Caller
from bookings.errors import BookingNotFound
from bookings.histories import input_in, steps_in
from bookings.pending import show_pending
from bookings.temporal import RPC_TIMEOUT, TripsInTemporal
from bookings.trips import CANCELLED, OPEN, STOPPED, Trip, steps_of
from shared import StepProgress, cancellation_id
from workflows import BookingWorkflow, CancelBookingWorkflow

Workflows = type[BookingWorkflow | CancelBookingWorkflow]

PAUSES = (0.0, 0.05, 0.2)
"""Seconds before each look at a trip that closes meanwhile. The server takes a moment to show that
a workflow is closed which says so itself."""


class LookingUp(TripsInTemporal):
    """Looks trips up."""

    async def look_up(self, user_id: str, caller: Caller) -> Trip:
        """Return the trip as it stands, its cancellation included.

        Raises `BookingNotFound`, `TemporalUnavailable` and `TemporalRefuses`.
        """
        with asking_temporal():
            trip = await self._trip(user_id, BookingWorkflow)
            if trip is None or not caller.may_see(trip.owner):
                raise BookingNotFound
            if not trip.may_hold_after_closing:
                return trip
            undoing = await self._trip(cancellation_id(user_id), CancelBookingWorkflow)
            return trip if undoing is None else replace(undoing, reason=CANCELLED)

    async def _trip(self, workflow_id: str, workflow: Workflows) -> Trip | None:
        """Return the trip as a workflow of this type shows it; `None`: there is none.

        It takes two questions, of the server and of a worker. A trip that closes between them is
        looked at once more.
        """
        for pause in PAUSES:
            await asyncio.sleep(pause)
            description = await self.describe(workflow_id)
            if description is None or description.workflow_type != workflow.__name__:
                return None
            trip = await self._as_described(description)
            if trip.closed_at is not None or trip.status in OPEN:
                return trip
        # The workflow could not close after all, for a signal that came at the last moment, say.
        return replace(trip, status="running")

    async def _as_described(self, description: WorkflowExecutionDescription) -> Trip:
        trip = await self.row(description)
        match description.status:
            case WorkflowExecutionStatus.COMPLETED:
                return trip.ended(await self.handle(description.id).result(rpc_timeout=RPC_TIMEOUT))
            case WorkflowExecutionStatus.CANCELED:
                steps = (await description.memo()).get("steps", [])
                return replace(trip, reason=CANCELLED, steps=steps_of(steps))
        # It has left no steps, because it is open or was stopped from outside. Either way a worker
        # can tell them, and otherwise the history does in part.
        progress = await self.progress(description.id)
        steps = progress.steps if progress else await self._steps_in_history(description)
        trip = replace(trip, steps=steps, stale=progress is None)
        if description.status != WorkflowExecutionStatus.RUNNING:
            return replace(trip, reason=STOPPED)
        show_pending(description.raw_description.pending_activities, steps)
        return replace(trip, status=progress.status) if progress else trip

    async def _steps_in_history(
        self, description: WorkflowExecutionDescription
    ) -> list[StepProgress]:
        history = await self.handle(description.id).fetch_history(rpc_timeout=RPC_TIMEOUT)
        book_input = await input_in(history.events, self._client.data_converter)
        return steps_in(history.events, book_input) if book_input else []
