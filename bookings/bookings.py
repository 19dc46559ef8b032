"""What the API asks of the record and of Temporal: book, look up, list, cancel, repair, wait."""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from temporalio.client import Client

from bookings.cursors import cursor_after, place_of
from bookings.errors import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    EventNotFound,
    TemporalRefuses,
    TemporalUnavailable,
    asking_temporal,
)
from bookings.settling import Settling
from bookings.temporal import TripWorkflows
from bookings.trips import Caller, is_same, may_be_id
from bookings.turns import Turns
from bookings.waiting import Gone, Waits
from connection import Polls
from record import UNHELD, Event, Record, RecordedTrip, RecordError, RecordUnavailable
from shared import Kind, SagaPolicy, TripStatus

logger = logging.getLogger(__name__)

START_PATIENCE = 30.0
"""Seconds that a request waits for the start of its trip, behind other trips. That is so for one
that does not wait for the outcome, too."""


class Bookings:
    """The bookings, for the tasks of one event loop. Every method may raise `RecordError`."""

    admit: Callable[[str], object] | None = None
    """Is asked before a new trip is accepted whether its owner may book now, and raises if not. A
    request that repeats its key asks for no new trip."""

    on_accepted: Callable[[], object] | None = None
    """Is called for each trip that is accepted, once however often it is asked for."""

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        self._polls = Polls(client)
        self._record = record
        self._workflows = TripWorkflows(client, policy)
        self._settling = Settling(record, self._workflows)
        self._turns = Turns()
        self._readiness: asyncio.Task[str | None] | None = None
        self.waits = Waits(self._workflows, record)

    async def book(
        self,
        user_id: str,
        request: Mapping[str, Any],
        owner: str,
        seconds: float,
        gone: Gone | None = None,
        *,
        key: str | None = None,
        on_id: Callable[[str], object] | None = None,
    ) -> RecordedTrip:
        """Book a trip, or the one of the owner's idempotency key, and return it as it stands.

        It returns when the trip is held, has ended or needs attention, after `seconds`, or once the
        client has `gone`. `request` is the API's, by the names of its fields. A new trip has the id
        `user_id`; `on_id` is told the trip's id before Temporal is asked. Raises `BookingDiffers`
        when the key or the id belongs to another request, `TemporalUnavailable` and
        `TemporalRefuses`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with self._turns.turn(owner, max(seconds, START_PATIENCE)):
            row, new = await self._accepted(user_id, request, owner, key)
            if on_id is not None and row.owner == owner:
                on_id(row.trip_id)
            if not new and (row.owner != owner or not is_same(request, row.request)):
                raise BookingDiffers
            if row.first_run_id is None and row.cancelled_at is None and row.closed_at is None:
                await self._workflows.start(row)
        seconds = max(0.0, deadline - loop.time())
        is_decided = row.booked_at is not None or row.closed_at is not None or row.status == "held"
        if is_decided or (new and not seconds):
            return row
        try:
            await self.waits.unless_stuck(row, seconds, gone)
            row = await self._record.trips.by_id(row.trip_id) or row
        except RecordUnavailable:
            pass  # It was there a moment ago, and an outage does not end the trip.
        return row

    async def look_up(self, user_id: str, caller: Caller) -> RecordedTrip:
        """Return the trip as it stands. Raises `BookingNotFound`."""
        owner = None if caller.operator else caller.name
        row = await self._record.trips.by_id(user_id, owner) if may_be_id(user_id) else None
        if row is None:
            raise BookingNotFound
        return row

    async def look_up_after(
        self, trip: RecordedTrip, seconds: float, gone: Gone | None = None
    ) -> RecordedTrip:
        """Return a trip once it is held or has ended, after `seconds` at most."""
        if trip.closed_at is not None:
            return trip
        await self.waits.until_closed(trip, seconds, gone)
        return await self._record.trips.by_id(trip.trip_id) or trip

    async def page(
        self, status: TripStatus | None, limit: int, cursor: str | None, caller: Caller
    ) -> tuple[list[RecordedTrip], str | None]:
        """Return a page of the caller's trips, the newest first, and the cursor of the next.

        Raises `UnknownCursor`.
        """
        rows = await self._record.trips.page(
            limit + 1,
            status=status,
            owner=None if caller.operator else caller.name,
            after=None if cursor is None else place_of(cursor),
        )
        page = rows[:limit]
        more = len(rows) > limit
        return page, cursor_after(page[-1]) if more else None

    async def cancel(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone | None = None
    ) -> RecordedTrip:
        """Undo the trip, running or booked, and return it after `seconds` at most.

        A wait ends at once when an undo is stuck. Even with no `seconds` Temporal has taken the
        order. If a running trip was booked before the request reached it, a wait has it undone; so
        do a repeated cancel and the audit. Cancelling again changes nothing. Raises
        `BookingConflict` when the trip was rolled back or has expired anyway, `BookingNotFound`,
        `TemporalUnavailable` and `TemporalRefuses`.
        """
        row = await self.look_up(user_id, caller)
        unnoted = caller.name if row.closed_at is not None else None
        if row.closed_at is None and row.cancelled_at is None:
            await self._record.actions.note_cancel(user_id, caller.name)
            if await self._workflows.cancel(row):
                await self._record.trips.note_cancel(user_id)
                await self.waits.unless_stuck(row, seconds, gone)
                row = await self.look_up(user_id, caller)
            if row.closed_at is None:
                row = await self._settling.settled(row, cancelled=True)
        if row.status == "rolled_back":
            raise BookingConflict("The booking was rolled back; nothing is left to cancel.")
        if row.status == "expired":
            raise BookingConflict("The trip has expired; nothing is left to cancel.")
        if row.closed_at is not None and row.status not in UNHELD:
            row = await self._record.trips.begin_cancellation(user_id, unnoted)
        if row.closed_at is None and row.cancelled_at is not None:
            await self._workflows.start_cancellation(row)
            await self.waits.unless_stuck(row, seconds, gone)
            row = await self.look_up(user_id, caller)
        return row

    async def confirm(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone | None = None
    ) -> RecordedTrip:
        """Have a held trip booked, and return it after `seconds` at most.

        Confirming again changes nothing. Raises `BookingConflict` when the trip is not held, nor
        was confirmed; `BookingNotFound`, `TemporalUnavailable` and `TemporalRefuses`.
        """
        row = await self.look_up(user_id, caller)
        if row.status == "held":
            noted = await self._record.actions.note_confirm(user_id, caller.name)
            if await self._is_taken(self._workflows.confirm(row), noted):
                row = await self._record.trips.note_confirm(user_id)
            else:
                row = await self._settling.settled(row)
        if row.confirmed_at is None:
            raise BookingConflict(f"The trip's status is {row.status}; it is not held.")
        if row.booked_at is None and row.closed_at is None:
            await self.waits.unless_stuck(row, seconds, gone)
            row = await self.look_up(user_id, caller)
        return row

    async def repair(
        self, user_id: str, kind: Kind, caller: Caller, note: str | None = None
    ) -> RecordedTrip:
        """Have a stuck undo tried again now, or declared settled with the caller's `note`.

        Doing so again changes nothing. Raises `BookingConflict` when it is not stuck,
        `BookingNotFound`, `TemporalUnavailable` and `TemporalRefuses`.
        """
        row = await self.look_up(user_id, caller)
        if row.closed_at is None:
            noted = await self._record.actions.note_repair(user_id, caller.name, kind, note)
            await self._is_taken(self._workflows.repair(row, kind, note), noted)
            row = await self.look_up(user_id, caller)
        # A trip has no step of a kind that came after it.
        state = next((step.state for step in row.steps if step.kind == kind), "not part of it")
        done = ("resolved",) if note is not None else ("undone", "resolved")
        if row.closed_at is not None and state not in done:
            raise BookingConflict(
                f"The {kind} is {state} and the trip {row.status}; no undo is under way."
            )
        return row

    async def events(self, after: str, limit: int, caller: Caller) -> tuple[list[Event], str]:
        """Return the events of the caller's trips that come after a cursor, the oldest first.

        And the cursor that goes on after them. The first event comes after "0".
        """
        owner = None if caller.operator else caller.name
        found = await self._record.events.after(int(after), limit, owner)
        return found, str(found[-1].position) if found else after

    async def undelivered(self, limit: int) -> list[Event]:
        """Return events that are not delivered, those that have waited for longest first."""
        return await self._record.events.undelivered(limit)

    async def deliver_again(self, event_id: str, caller: Caller) -> Event:
        """Have an event delivered again, or at once. Raises `EventNotFound`, `BookingConflict`."""
        event = await self._record.events.deliver_again(event_id)
        if event is None:
            raise EventNotFound
        if event.delivery is None:
            raise BookingConflict(
                "There was no webhook when this event was written, so it is not sent to one later; "
                "`GET /events` tells of it."
            )
        about = {"trip_id": event.trip_id}
        logger.info("Caller %s asks for: event %s sent again", caller.name, event_id, extra=about)
        return event

    async def check_ready(self) -> str | None:
        """Return what keeps trips from being booked, or `None` when nothing does.

        Those who ask while a question is under way share its answer.
        """
        if self._readiness is None or self._readiness.done():
            self._readiness = asyncio.create_task(self._obstacle())
        return await asyncio.shield(self._readiness)

    async def owners_besides(self, callers: Collection[str]) -> list[str]:
        """Return the owners of trips that are none of the callers."""
        return await self._record.owners.besides(callers)

    def stop_waiting(self) -> None:
        """End all waits, also those for a turn to start a trip, which was not accepted then."""
        self.waits.stop()
        self._turns.fail(TemporalUnavailable("This process stops"))

    async def _is_taken(self, update: Awaitable[None], noted: str) -> bool:
        """Tell whether a trip's workflow takes an update; if not, the noted action is taken back.

        Raises `BookingConflict` if it refuses the update. Otherwise it has closed, or was stopped.
        """
        try:
            await update
        except (BookingNotFound, BookingConflict) as error:
            await self._record.actions.take_back(noted)
            if isinstance(error, BookingConflict):
                raise
            return False
        return True

    async def _obstacle(self) -> str | None:
        try:
            # First: a worker whose record is not there does not poll.
            await self._record.database.check_writable()
            with asking_temporal():
                return await self._polls.nobody_takes_trips()
        except TemporalUnavailable:
            return "Temporal cannot be reached"
        except (TemporalRefuses, RecordError) as error:
            return str(error)

    async def _accepted(
        self, user_id: str, request: Mapping[str, Any], owner: str, key: str | None
    ) -> tuple[RecordedTrip, bool]:
        """Return the row of the trip, and whether it is new."""
        trips = self._record.trips
        if self.admit is not None and (key is None or not await trips.by_key(owner, key)):
            self.admit(owner)
        row = RecordedTrip(
            trip_id=user_id,
            owner=owner,
            request=dict(request),
            status="running",
            workflow_id=user_id,
            accepted_at=dt.datetime.now(dt.UTC),
        )
        row, new = await trips.accept(row, key)
        if new and self.on_accepted is not None:
            self.on_accepted()
        return row, new
