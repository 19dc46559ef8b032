"""Changing what became of a trip: cancelling it, repairing an undo."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from bookings.asking import asking_temporal, is_missing_workflow
from bookings.callers import Caller
from bookings.errors import BookingConflict
from bookings.starting import Starting
from bookings.temporal import RPC_TIMEOUT, TripHandle
from bookings.trips import Trip, acting_workflow
from bookings.waiting import Gone
from record import UNHELD, RecordedTrip
from shared import CANCELLED, Kind, StepState
from workflows import BookingWorkflow


class Changing(Starting):
    """Cancels and repairs trips."""

    async def cancel(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone | None = None
    ) -> Trip:
        """Undo the trip, running or booked, and return it after `seconds` at the most.

        Who waits learns at once that an undo is stuck. Even with no `seconds` Temporal has taken
        the order. Only who waits learns whether a running trip was booked before the order reached
        it, and has it undone for that; who asks again does, too. Cancelling again changes nothing.
        Raises `BookingConflict` when the trip was rolled back anyway, `BookingNotFound`,
        `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        row = await self.recorded(user_id, caller)
        if row.closed_at is None and row.cancelled_at is None:
            await self._cancel_running(row)
            await self.wait_unless_stuck(user_id, row.workflow_id, seconds, gone)
            await self.as_it_stands(row)
            row = await self._record.trip(user_id) or row
        if row.status == "rolled_back":
            raise BookingConflict("The booking was rolled back; nothing is left to cancel.")
        if row.closed_at is not None and row.status not in UNHELD:
            row = await self._record.begin_cancellation(user_id)
        if row.closed_at is None and row.cancelled_at is not None:
            await self.start_cancellation(row)
            await self.wait_unless_stuck(user_id, acting_workflow(row), seconds, gone)
        return await self.look_up(user_id, caller)

    async def retry_undo(self, user_id: str, kind: Kind, caller: Caller) -> Trip:
        """Have a stuck undo tried again now. Doing so again changes nothing.

        Raises `BookingConflict` when it is not stuck, `BookingNotFound`, `TemporalUnavailable`.
        """

        async def retry(undoing: TripHandle) -> None:
            await undoing.execute_update(BookingWorkflow.retry_undo, kind, rpc_timeout=RPC_TIMEOUT)

        return await self._repair(user_id, kind, caller, retry, done=("undone", "resolved"))

    async def resolve_undo(self, user_id: str, kind: Kind, note: str, caller: Caller) -> Trip:
        """Take the caller's word that a stuck undo is settled. Doing so again changes nothing.

        Raises as `retry_undo` does.
        """

        async def resolve(undoing: TripHandle) -> None:
            await undoing.execute_update(
                BookingWorkflow.resolve_undo, args=[kind, note], rpc_timeout=RPC_TIMEOUT
            )

        return await self._repair(user_id, kind, caller, resolve, done=("resolved",))

    async def _cancel_running(self, row: RecordedTrip) -> None:
        with asking_temporal():
            try:
                running = self.handle(row.workflow_id, row.first_run_id or None)
                await running.cancel(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if not is_missing_workflow(error):
                    raise
                if row.first_run_id is None and await self.describe(row.workflow_id) is None:
                    # It was never started, and now it never will be.
                    await self._record.withdraw(row.trip_id, "cancelled", CANCELLED)
                # Else it has closed in the meantime.

    async def _repair(
        self,
        user_id: str,
        kind: Kind,
        caller: Caller,
        ask: Callable[[TripHandle], Awaitable[None]],
        done: Sequence[StepState],
    ) -> Trip:
        """Ask for the repair of an undo, and return the trip.

        A trip that has closed in the meantime is fine when its step is in one of the states `done`:
        the same repair was asked for before.
        """
        trip = await self.look_up(user_id, caller)
        if trip.closed_at is None:
            with asking_temporal(), _refusing():
                await ask(self.handle(trip.workflow_id))
            trip = await self.look_up(user_id, caller)
        # A trip has no step of a kind that came after it.
        state = next((step.state for step in trip.steps if step.kind == kind), "not part of it")
        if trip.closed_at is not None and state not in done:
            raise BookingConflict(
                f"The {kind} is {state} and the trip {trip.status}; no undo is under way."
            )
        return trip


@contextmanager
def _refusing() -> Iterator[None]:
    """Translate a workflow's refusal of an update. One that has closed refuses nothing."""
    try:
        yield
    except WorkflowUpdateFailedError as error:
        if not isinstance(error.cause, ApplicationError):
            raise
        raise BookingConflict(f"{error.cause.message}.") from error
    except RPCError as error:
        if not is_missing_workflow(error):
            raise
