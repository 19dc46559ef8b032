"""Suppliers with an observer, who is told the outcome of each call and how long it took."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from shared import BookVacationInput, Kind
from suppliers.desk import Try
from suppliers.embedded import EmbeddedSupplier
from suppliers.port import Confirmed, Pending, Refused, Released, Supplier, Unavailable

Call = Literal["book", "cancel", "find"]

Outcome = Literal[
    "confirmed", "pending", "released", "not_found", "refused", "unknown", "unavailable"
]

Observer = Callable[[Kind, Call, Outcome, float], object]
"""It is called when a call is over; the last argument is the call's time in seconds."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ObservedSupplier:
    """A supplier of one kind, with an observer of its calls."""

    kind: Kind
    supplier: Supplier
    observer: Observer

    async def book(self, trip: BookVacationInput, attempt: int) -> Confirmed | Pending:
        """Hold the trip's item."""
        return await _told(self.observer, self.kind, "book", self.supplier.book(trip, attempt))

    async def cancel(self, trip: BookVacationInput) -> Released | Pending:
        """Release what the trip holds."""
        return await _told(self.observer, self.kind, "cancel", self.supplier.cancel(trip))

    async def find(self, trip: BookVacationInput) -> Confirmed | Pending | Released | None:
        """Tell what the trip holds."""
        return await _told(self.observer, self.kind, "find", self.supplier.find(trip))

    async def close(self) -> None:
        """Close what is open."""
        await self.supplier.close()


@dataclass(frozen=True)
class ObservedEmbedded:
    """The embedded supplier of one kind, which is its own desk, with an observer of its calls."""

    supplier: EmbeddedSupplier
    observer: Observer
    name: ClassVar[None] = None
    late: ClassVar[float] = 0.0

    async def book(self, trip: BookVacationInput, tried: Try) -> Confirmed:
        """Hold the trip's item."""
        call = self.supplier.book(trip, tried)
        return await _told(self.observer, self.supplier.kind, "book", call)

    async def cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        """Release what the trip holds."""
        call = self.supplier.cancel(trip, tried)
        return await _told(self.observer, self.supplier.kind, "cancel", call)

    async def find(self, trip: BookVacationInput) -> Confirmed | Released | None:
        """Tell what the trip holds."""
        call = self.supplier.find(trip)
        return await _told(self.observer, self.supplier.kind, "find", call)

    async def cancel_late_booking(self, trip: BookVacationInput) -> Released:
        """Release what the trip holds, for good."""
        return await self.cancel(trip, Try())

    async def close(self) -> None:
        """Close what is open."""
        await self.supplier.close()


async def _told(observer: Observer, kind: Kind, call: Call, answering: Awaitable[Answer]) -> Answer:
    """Return what a call answers, and tell the observer."""
    begun = time.perf_counter()
    # Stays so for a call that is given up, and for one that raises what no supplier may raise.
    outcome: Outcome = "unknown"
    try:
        answer = await answering
        outcome = _meaning_of(answer)
    except Refused:
        outcome = "refused"
        raise
    except Unavailable:
        outcome = "unavailable"
        raise
    else:
        return answer
    finally:
        observer(kind, call, outcome, time.perf_counter() - begun)


def _meaning_of(answer: object) -> Outcome:
    match answer:
        case Confirmed():
            return "confirmed"
        case Pending():
            return "pending"
        case Released():
            return "released"
        case None:
            return "not_found"
    return "unknown"
