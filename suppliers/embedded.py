"""The embedded supplier: it holds its reservations in our own record.

It needs no desk before it, because the note of a booking and the booking are one row. It does not
know items whose ids contain "invalid", and its hotel is slow and at first down: that is the
tutorial's simulation, and no other supplier has it.
"""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from record import Record
from shared import BookVacationInput, Kind
from suppliers.desk import Try, in_record, in_time
from suppliers.observed import Observer, observed
from suppliers.port import Confirmed, Held, Refused, Released, Unavailable


@dataclass(frozen=True)
class EmbeddedSupplier:
    """Books one kind in the record: a supplier, and its own desk.

    It answers after `latency` seconds, and is down for the first `outage_attempts` tries of each
    booking.
    """

    kind: Kind
    record: Record
    latency: float = 0.0
    outage_attempts: int = 0
    observer: Observer | None = None
    name: ClassVar[None] = None
    late: ClassVar[float] = 0.0

    async def book(self, trip: BookVacationInput, tried: Try) -> Confirmed | Held:
        """Book the trip's item, or hold it. Doing so again changes nothing.

        It tells no prices, and holds an item until the trip is confirmed or undone.
        """
        return await observed(self.observer, self.kind, "book", self._book(trip, tried))

    async def cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        """Release what the trip holds, for good. Doing so again changes nothing."""
        return await observed(self.observer, self.kind, "cancel", self._cancel(trip, tried))

    async def close(self) -> None:
        """Do nothing: the process closes its record itself."""

    async def _book(self, trip: BookVacationInput, tried: Try) -> Confirmed | Held:
        is_down = tried.number <= self.outage_attempts
        latency = 2 * self.latency if is_down else self.latency
        await in_time(asyncio.sleep(latency), trip, self.kind)
        if is_down:
            raise Unavailable("Hotel service is down. Retrying...")
        if "invalid" in (trip.item(self.kind) or ""):
            raise Refused(f"Invalid {self.kind} booking, rolling back!")
        await in_record(self.record.reservations.reserve(trip, self.kind, tried.seconds))
        return Held(trip.hold_seconds) if trip.hold_seconds else Confirmed()

    async def _cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        await in_record(self.record.reservations.cancel(trip, self.kind, tried.seconds))
        return Released()
