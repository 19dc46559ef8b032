"""Booking a trip: accepting it, starting it, and telling what has become of it."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from temporalio.client import Client

from bookings.errors import BookingDiffers, TemporalUnavailable
from bookings.loops import PerLoop
from bookings.starting import Starting
from bookings.trips import Trip, acting_workflow, is_same, shown
from bookings.turns import Turns
from bookings.waiting import Gone
from record import Record, RecordedTrip, RecordUnavailable
from shared import SagaPolicy

START_PATIENCE = 30.0
"""Seconds that also who does not wait for the outcome waits for the start, behind other trips."""


class Booking(Starting):
    """Books trips, each once however often it is asked for."""

    admit: Callable[[str], object] | None = None
    """Is asked before a new trip is accepted whether its owner may book now, and raises if not. Who
    repeats a request with its key asks for nothing new."""

    on_accepted: Callable[[], object] | None = None
    """Is called for each trip that is accepted, once however often it is asked for."""

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        super().__init__(client, record, policy)
        self._turns = PerLoop(Turns)

    def stop_waiting(self) -> None:
        """End all waits, also those for a turn to start a trip, which was not accepted then."""
        super().stop_waiting()
        for turns in self._turns.of_all():
            turns.fail(TemporalUnavailable("This process stops"))

    async def book(
        self,
        user_id: str,
        request: Mapping[str, Any],
        owner: str,
        seconds: float,
        gone: Gone | None = None,
        key_fingerprint: str | None = None,
    ) -> Trip:
        """Book the trip, unless the same one was accepted before, and return it as it stands.

        While it goes on, that is after `seconds`, or once it needs attention or the caller has
        `gone`. `request` has the name, the attempts, and the car, hotel and flight. Raises
        `BookingDiffers` when the id belongs to another request, `TemporalUnavailable`,
        `TemporalRefuses` and `RecordError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with self._turns.here().turn(owner, max(seconds, START_PATIENCE)):
            row, new = await self._begun(user_id, request, owner, key_fingerprint)
        seconds = max(0.0, deadline - loop.time())
        if row.booked_at is not None or (new and not seconds):
            return shown(row)
        return await self._awaited(row, seconds, gone)

    async def _begun(
        self, user_id: str, request: Mapping[str, Any], owner: str, key_fingerprint: str | None
    ) -> tuple[RecordedTrip, bool]:
        """Accept and start the trip. Returns its row, and whether it is new. Raises as `book`."""
        if self.admit is not None:
            known = key_fingerprint is not None and await self._record.trip(user_id) is not None
            if not known:
                self.admit(owner)
        row, new = await self._record.accept(
            RecordedTrip(
                trip_id=user_id,
                owner=owner,
                request=dict(request),
                status="running",
                workflow_id=user_id,
                accepted_at=dt.datetime.now(dt.UTC),
                key_fingerprint=key_fingerprint,
            )
        )
        if new and self.on_accepted is not None:
            self.on_accepted()
        if row.owner is None:
            row = await self.adopted(user_id) or row
        if not new and not is_same(request, row.request):
            raise BookingDiffers
        startable = row.first_run_id is None and row.cancelled_at is None and row.closed_at is None
        if startable and not await self.start(row) and new:
            # The CLI, say, has started a workflow of that id, or a version without a record.
            row = await self.adopted(user_id) or row
            if not is_same(request, row.request):
                raise BookingDiffers
        return row, new

    async def _awaited(self, row: RecordedTrip, seconds: float, gone: Gone | None) -> Trip:
        try:
            if row.closed_at is None and seconds:
                await self.wait_unless_stuck(row.trip_id, acting_workflow(row), seconds, gone)
                row = await self._record.trip(row.trip_id) or row
            # Without a worker a further question takes its time; nobody would read the answer.
            if self._stopping or (gone is not None and gone()):
                return shown(row)
            return await self.as_it_stands(row)
        except (RecordUnavailable, TemporalUnavailable):
            # It was there a moment ago, and an outage does not end it.
            return shown(row)
