"""Looking a trip up as it stands, its cancellation included."""

from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from bookings.callers import Caller
from bookings.errors import BookingNotFound
from bookings.histories import steps_in_history
from bookings.temporal import RPC_TIMEOUT, TripsInTemporal, asking_temporal
from bookings.trips import CANCELLED, STOPPED, Trip, steps_of
from shared import KINDS, StepProgress, cancellation_id
from workflows import BookingWorkflow

QUERY_TIMEOUT = timedelta(seconds=2)


class LookingUp(TripsInTemporal):
    """Looks trips up."""

    async def look_up(self, user_id: str, caller: Caller) -> Trip:
        """Return the trip as it stands, its cancellation included.

        Raises `BookingNotFound` and `TemporalUnavailable`.
        """
        with asking_temporal():
            description = await self.describe(user_id)
            if description is None or description.workflow_type != BookingWorkflow.__name__:
                raise BookingNotFound
            trip = await self._trip(description)
            if not caller.may_see(trip.owner):
                raise BookingNotFound
            if not trip.may_hold_after_closing:
                return trip
            cancellation = await self.describe(cancellation_id(user_id))
            if cancellation is None:
                return trip
            undoing = await self._trip(cancellation)
            return replace(undoing, reason=CANCELLED)

    async def _trip(self, description: WorkflowExecutionDescription) -> Trip:
        trip = await self.row(description)
        match description.status:
            case WorkflowExecutionStatus.RUNNING:
                return await self._running(trip, description)
            case WorkflowExecutionStatus.COMPLETED:
                return trip.ended(await self.handle(description.id).result(rpc_timeout=RPC_TIMEOUT))
            case WorkflowExecutionStatus.CANCELED:
                steps = (await description.memo()).get("steps", [])
                return replace(trip, reason=CANCELLED, steps=steps_of(steps))
            case _:
                steps = await self._steps_in_history(description)
                return replace(trip, reason=STOPPED, steps=steps)

    async def _running(self, trip: Trip, description: WorkflowExecutionDescription) -> Trip:
        try:
            progress = await self.handle(description.id).query(
                BookingWorkflow.progress, rpc_timeout=QUERY_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError):
            steps = await self._steps_in_history(description)
            return replace(trip, steps=steps, stale=True)
        return replace(trip, status=progress.status, steps=progress.steps)

    async def _steps_in_history(
        self, description: WorkflowExecutionDescription
    ) -> list[StepProgress]:
        history = await self.handle(description.id).fetch_history(rpc_timeout=RPC_TIMEOUT)
        memo = await description.memo()
        items = {kind: str(memo.get(kind, "")) for kind in KINDS}
        return steps_in_history(
            items, history.events, description.raw_description.pending_activities
        )
