"""Looking a trip up as it stands.

What is over stands in the record, and nobody else is asked. What is not is asked of Temporal; and
what is found there that the record has not been told, it is told now.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from bookings.asking import asking_temporal
from bookings.callers import Caller
from bookings.errors import BookingNotFound
from bookings.histories import input_in, steps_in
from bookings.pending import show_pending
from bookings.temporal import RPC_TIMEOUT, TripsInTemporal
from bookings.trips import (
    NEVER_STARTED,
    STOPPED,
    Trip,
    acting_workflow,
    may_be_id,
    shown,
    steps_of,
    with_reservations,
)
from connection import UnreadablePayload
from record import CLOCKS_DIFFER, OLDER, OPEN, Record, RecordedTrip
from shared import (
    CANCELLED,
    CancelBookingInput,
    SagaPolicy,
    StepProgress,
    TripStatus,
    steps_from_json,
)
from workflows import BookingWorkflow

PAUSES = (0.0, 0.05, 0.2)
"""Seconds before each look at a trip that closes meanwhile. The server takes a moment to show that
a workflow is closed which says so itself."""

START_LIMIT = dt.timedelta(minutes=1)
"""After so long, a trip that was accepted without a key and has no workflow will never have one:
nobody can ask for it again."""

STATUS_OF_RESULT: dict[str, TripStatus] = {
    "success": "booked",
    "failure": "rolled_back",
    "cancelled": "cancelled",
}


class LookingUp(TripsInTemporal):
    """Looks trips up."""

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        super().__init__(client, record)
        self._policy = policy

    async def look_up(self, user_id: str, caller: Caller) -> Trip:
        """Return the trip as it stands, its cancellation included.

        Raises `BookingNotFound`, `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        return await self.as_it_stands(await self.recorded(user_id, caller))

    async def recorded(self, user_id: str, caller: Caller) -> RecordedTrip:
        """Return the trip's row. Raises as `look_up` does."""
        row = await self._record.trip(user_id) if may_be_id(user_id) else None
        if row is None or row.owner is None:
            row = await self.adopted(user_id) or row
        if row is not None and row.owner is None:
            row = await self._record.disown(user_id)
        if row is None or row.trip_id != user_id or not caller.may_see(row.owner or ""):
            raise BookingNotFound
        return row

    async def adopted(self, workflow_id: str) -> RecordedTrip | None:
        """Record a trip that only Temporal knows, and return its row; `None`: it knows none either.

        It was started by the CLI, say, and no worker has taken it up yet; or it is older than the
        record.
        """
        trip = await self.as_temporal_knows(workflow_id)
        return None if trip is None else await self._record.adopt(trip)

    async def as_temporal_knows(self, workflow_id: str) -> RecordedTrip | None:
        """Return the row that the trip of a workflow would have; `None`: it is no trip's."""
        with asking_temporal():
            description = await self.describe(workflow_id)
            if description is None or description.workflow_type != BookingWorkflow.__name__:
                return None
            _, book_input = await self._history(workflow_id)
        if book_input is None or not may_be_id(book_input.book_user_id):
            return None
        # Earlier versions had the traveller's name and the owner in the memo only.
        memo = await description.memo()
        return RecordedTrip(
            trip_id=book_input.book_user_id,
            owner=book_input.owner or str(memo.get("owner", "")),
            request=book_input.request | {"name": book_input.name or str(memo.get("name", ""))},
            status="running",
            workflow_id=workflow_id,
            accepted_at=description.start_time,
            first_run_id=_first_run_id(description),
        )

    async def as_it_stands(self, row: RecordedTrip) -> Trip:
        """Return the trip of a row, and tell the record what it should have been told.

        Raises `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        trip = shown(row)
        for pause in PAUSES:
            await asyncio.sleep(pause)
            if row.closed_at is not None:
                return await self._as_recorded(row)
            # Between two questions a workflow that has closed may be forgotten.
            with contextlib.suppress(BookingNotFound), asking_temporal():
                description = await self.acting(row)
                if description is None:
                    return await self._as_recorded(await self._without_workflow(row))
                if description.status != WorkflowExecutionStatus.RUNNING:
                    return await self._as_recorded(await self._closed(row, description))
                trip = await self._as_described(row, description)
                if trip.status in OPEN:
                    return trip
            # It takes two questions, of the server and of a worker; it was closing between them.
            row = await self._record.trip(row.trip_id) or row
        # The workflow could not close after all, for the record could not be told, say.
        return replace(trip, status="running")

    async def _as_recorded(self, row: RecordedTrip) -> Trip:
        trip = shown(row)
        if row.steps is not None and row.status not in OPEN:
            return trip
        return replace(
            trip,
            steps=with_reservations(trip.steps, await self._record.reservations_of(row.trip_id)),
        )

    async def acting(self, row: RecordedTrip) -> WorkflowExecutionDescription | None:
        """Return the description of the workflow that acts on the trip, if there is one."""
        description = await self.describe(acting_workflow(row))
        if description is None or row.cancelled_at or row.first_run_id is None:
            return description
        # One of this id that is another execution is another trip's.
        own = _first_run_id(description) == row.first_run_id
        if row.first_run_id == OLDER:
            own = description.start_time <= row.accepted_at + CLOCKS_DIFFER
        return description if own else None

    async def _without_workflow(self, row: RecordedTrip) -> RecordedTrip:
        if row.cancelled_at is not None:
            return row  # It is about to be started; the audit sees to it.
        if row.first_run_id is not None:
            return await self._record.found(row, "needs_attention", STOPPED, row.steps)
        patience = START_LIMIT
        if row.key_fingerprint is not None:
            patience = dt.timedelta(seconds=self._policy.trip_deadline)
        if dt.datetime.now(dt.UTC) < row.accepted_at + patience:
            return row
        return await self._record.withdraw(row.trip_id, "rolled_back", NEVER_STARTED)

    async def _closed(
        self, row: RecordedTrip, description: WorkflowExecutionDescription
    ) -> RecordedTrip:
        """Return the row of a trip whose workflow has closed."""
        now = await self._record.trip(row.trip_id) or row
        if now.closed_at is not None or now.cancelled_at != row.cancelled_at:
            return now
        match description.status:
            case WorkflowExecutionStatus.COMPLETED:
                # A worker of an earlier version tells the record nothing.
                result = await self.handle(description.id).result(rpc_timeout=RPC_TIMEOUT)
                status = STATUS_OF_RESULT[result["status"]]
                reasons = {"rolled_back": str(result["message"]), "cancelled": CANCELLED}
                steps = steps_from_json(result["steps"])
                return await self._record.found(row, status, reasons.get(status), steps)
            case WorkflowExecutionStatus.CANCELED:
                steps = steps_from_json((await description.memo()).get("steps", []))
                return await self._record.found(row, "cancelled", CANCELLED, steps)
        told = row.steps
        # Of a key that is lost for good. What is held stands in the record.
        with contextlib.suppress(UnreadablePayload):
            told, _ = await self._steps(row, description)
        return await self._record.found(row, "needs_attention", STOPPED, told)

    async def _as_described(
        self, row: RecordedTrip, description: WorkflowExecutionDescription
    ) -> Trip:
        steps, status = await self._steps(row, description)
        pending = description.raw_description.pending_activities
        await show_pending(pending, steps, self._client.data_converter)
        return replace(
            shown(row),
            status=status or row.status,
            reason=None,
            run_id=description.run_id,
            steps=steps,
            stale=status is None,
        )

    async def _steps(
        self, row: RecordedTrip, description: WorkflowExecutionDescription
    ) -> tuple[list[StepProgress], TripStatus | None]:
        """Return the steps and the status as a worker tells them; else the steps from the history.

        A worker tells them of a workflow that was stopped from outside, too.
        """
        progress = await self.progress(description.id)
        if progress is not None:
            return progress.steps, progress.status
        events, book_input = await self._history(description.id)
        if book_input is None:
            return steps_of(row), None
        return await steps_in(events, book_input, self._client.data_converter), None

    async def _history(
        self, workflow_id: str
    ) -> tuple[Sequence[HistoryEvent], CancelBookingInput | None]:
        """Return a workflow's events, and its input if it is a trip's."""
        history = await self.handle(workflow_id).fetch_history(rpc_timeout=RPC_TIMEOUT)
        return history.events, await input_in(history.events, self._client.data_converter)


def _first_run_id(description: WorkflowExecutionDescription) -> str:
    info = description.raw_description.workflow_execution_info
    return info.first_run_id or description.run_id
