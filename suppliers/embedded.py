"""The embedded supplier: it holds its reservations in our own record.

An item whose id contains "invalid" is one that it does not know, and its hotel is slow and at first
down: that is the tutorial's simulation, and belongs to no other supplier.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from record import Record, RecordBroken, RecordUnavailable, ReservationRefused
from shared import KINDS, BookVacationInput, Kind
from suppliers.port import Refused, Suppliers, Unavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedSupplier:
    """Books one kind in the record.

    It takes `latency` seconds to answer and is down for the first `outage_attempts` tries of each
    booking.
    """

    kind: Kind
    record: Record
    latency: float = 0.0
    outage_attempts: int = 0

    async def book(self, trip: BookVacationInput, attempt: int) -> None:
        """Hold the trip's item. Doing so again changes nothing."""
        await asyncio.sleep(self.latency)
        if attempt <= self.outage_attempts:
            await asyncio.sleep(self.latency)
            raise Unavailable("Hotel service is down. Retrying...")
        if "invalid" in (trip.item(self.kind) or ""):
            raise Refused(f"Invalid {self.kind} booking, rolling back!")
        await self._ask(self.record.reserve(trip, self.kind))

    async def cancel(self, trip: BookVacationInput) -> None:
        """Release what the trip holds, for good. Doing so again changes nothing."""
        await self._ask(self.record.cancel(trip, self.kind))

    async def refuse_late_booking(self, trip: BookVacationInput) -> None:
        """Refuse every later `book` of the trip, and hold nothing for it any more."""
        await self._ask(self.record.settle(trip, self.kind))

    async def _ask(self, call: Awaitable[None]) -> None:
        try:
            await call
        except ReservationRefused as refused:
            raise Refused(str(refused)) from refused
        except RecordUnavailable as error:
            raise Unavailable(str(error)) from error
        except RecordBroken as bug:
            # No try of the same kind can succeed, so it is not tried again.
            logger.exception("The record is broken")
            raise Refused(f"The {self.kind} supplier failed") from bug


def embedded_suppliers(
    record: Record, hotel_latency: float = 0.0, hotel_outage_attempts: int = 0
) -> Suppliers:
    """Return an embedded supplier of each kind, of which only the hotel is slow or down."""
    suppliers = {kind: EmbeddedSupplier(kind, record) for kind in KINDS}
    suppliers["hotel"] = EmbeddedSupplier("hotel", record, hotel_latency, hotel_outage_attempts)
    return suppliers
