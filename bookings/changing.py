"""Changing what became of a trip: cancelling it, repairing an undo."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from bookings.asking import asking_temporal, is_missing_workflow
from bookings.callers import Caller
from bookings.errors import BookingConflict
from bookings.looking_up import LookingUp
from bookings.starting import Starting
from bookings.temporal import RPC_TIMEOUT, TripHandle
from bookings.trips import Trip
from bookings.waiting import Gone, Waiting
from shared import Kind, StepState, cancellation_id
from workflows import BookingWorkflow


class Changing(LookingUp, Starting, Waiting):
    """Cancels and repairs trips."""

    async def cancel(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone | None = None
    ) -> Trip:
        """Undo the trip, running or booked, and return it after `seconds` at the most.

        Even with no `seconds` Temporal has taken the order. Only who waits learns whether a running
        trip was booked before the order reached it, and has it undone for that; who asks again
        does, too. Cancelling again changes nothing. Raises `BookingConflict` when the trip was
        rolled back anyway, `BookingNotFound`, `TemporalUnavailable` and `TemporalRefuses`.
        """
        trip = await self.look_up(user_id, caller)
        if trip.closed_at is None:
            if trip.workflow_id == user_id:
                await self._cancel_running(user_id)
            trip = await self._awaited(trip.workflow_id, user_id, caller, seconds, gone)
        if trip.status == "rolled_back":
            raise BookingConflict("The booking was rolled back; nothing is left to cancel.")
        if trip.may_hold_after_closing:
            if not trip.steps:
                raise BookingConflict("The booking has no readable input: it cannot be cancelled.")
            await self.start_cancellation(trip)
            trip = await self._awaited(cancellation_id(user_id), user_id, caller, seconds, gone)
        return trip

    async def _awaited(
        self, workflow_id: str, user_id: str, caller: Caller, seconds: float, gone: Gone | None
    ) -> Trip:
        """Return the trip once the workflow that acts on it has ended, or after `seconds`."""
        if seconds:
            await self.outcome(workflow_id, seconds, gone)
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

    async def _cancel_running(self, user_id: str) -> None:
        with asking_temporal():
            try:
                await self.handle(user_id).cancel(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if not is_missing_workflow(error):
                    raise
                # It has closed in the meantime.

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
