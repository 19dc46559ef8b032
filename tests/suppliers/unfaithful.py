"""A supplier in memory that keeps the port, and others that break one promise of it each."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from shared import BookVacationInput
from suppliers import Confirmed, Pending, Refused, Released


@dataclass
class Booking:
    item: str
    reference: str
    finds_pending: int = 0
    cancelled: bool = False


class Faithful:
    """Keeps the port, in memory."""

    def __init__(self) -> None:
        self.bookings: dict[str, Booking] = {}
        self.tombstones: set[str] = set()
        self.number = 0

    def key(self, trip: BookVacationInput) -> str:
        return trip.book_user_id

    def new(self, item: str) -> Booking:
        self.number += 1
        return Booking(item, f"R{self.number}", 2 if "pending" in item else 0)

    def told(self, booking: Booking) -> Confirmed | Pending | Released:
        if booking.cancelled:
            return Released()
        return Pending(1.0) if booking.finds_pending else Confirmed(booking.reference)

    def refuse(self, item: str) -> None:
        if "unknown" in item or "sold-out" in item:
            raise Refused(f"The hotel {item} cannot be had")

    async def book(self, trip: BookVacationInput, attempt: int) -> Any:
        await asyncio.sleep(0)
        item, key = trip.item("hotel") or "", self.key(trip)
        self.refuse(item)
        if key in self.tombstones:
            raise Refused("The reservation was cancelled")
        booking = self.bookings.setdefault(key, self.new(item))
        if booking.item != item:
            raise Refused("This trip has another hotel")
        return self.told(booking)

    async def find(self, trip: BookVacationInput) -> Any:
        await asyncio.sleep(0)
        booking = self.bookings.get(self.key(trip))
        if booking is None:
            return Released() if self.key(trip) in self.tombstones else None
        booking.finds_pending = max(booking.finds_pending - 1, 0)
        return self.told(booking)

    async def cancel(self, trip: BookVacationInput) -> Any:
        await asyncio.sleep(0)
        self.tombstones.add(self.key(trip))
        if booking := self.bookings.get(self.key(trip)):
            booking.cancelled = True
        return Released()

    async def close(self) -> None:
        pass


class Blocking(Faithful):
    """Waits for a library that blocks."""

    async def book(self, trip: BookVacationInput, attempt: int) -> Any:
        call = super().book(trip, attempt)
        with contextlib.suppress(StopIteration):
            while True:
                call.send(None)
        return self.told(self.bookings[self.key(trip)])


class Forgetful(Faithful):
    """Has a new reference for every call."""

    def told(self, booking: Booking) -> Any:
        told = super().told(booking)
        self.number += 1
        return Confirmed(f"R{self.number}") if isinstance(told, Confirmed) else told


class Nameless(Faithful):
    """Has one reference for all."""

    def told(self, booking: Booking) -> Any:
        told = super().told(booking)
        return Confirmed("R1") if isinstance(told, Confirmed) else told


class Blind(Faithful):
    """Finds nothing."""

    async def find(self, trip: BookVacationInput) -> Any:
        return await asyncio.sleep(0)


class Strict(Faithful):
    """Raises where there is nothing to be found."""

    async def find(self, trip: BookVacationInput) -> Any:
        found = await super().find(trip)
        if found is None:
            raise Refused("There is no such reservation")
        return found


class Yielding(Faithful):
    """Takes another item for the same."""

    async def book(self, trip: BookVacationInput, attempt: int) -> Any:
        if booking := self.bookings.get(self.key(trip)):
            booking.item = trip.item("hotel") or ""
        return await super().book(trip, attempt)


class Careless(Faithful):
    """Books whatever it is asked for."""

    def refuse(self, item: str) -> None:
        pass


class Talkative(Faithful):
    """Lets travellers read its errors."""

    def refuse(self, item: str) -> None:
        try:
            super().refuse(item)
        except Refused as refused:
            raise Refused(f"HTTP Error 422 at https://hotels.example/v1: {refused}") from None


class Raising(Faithful):
    """Raises what its library raises."""

    def refuse(self, item: str) -> None:
        try:
            super().refuse(item)
        except Refused:
            raise ValueError(item) from None


class Undeciding(Faithful):
    """Never decides."""

    def new(self, item: str) -> Booking:
        booking = super().new(item)
        booking.finds_pending *= 1_000
        return booking


class Overhasty(Faithful):
    """Calls what is pending confirmed, and gives it up later."""

    async def find(self, trip: BookVacationInput) -> Any:
        found = await super().find(trip)
        return Released() if isinstance(found, Pending) else found


class Decoding(Faithful):
    """Decodes an id once too often."""

    def key(self, trip: BookVacationInput) -> str:
        return trip.book_user_id.replace("%2F", "/").replace("%25", "%")


class Plain(Faithful):
    """Knows ASCII only."""

    def key(self, trip: BookVacationInput) -> str:
        return trip.book_user_id.encode("ascii", "strict").decode()


class Once(Faithful):
    """Refuses what was cancelled already."""

    async def cancel(self, trip: BookVacationInput) -> Any:
        if self.key(trip) in self.tombstones:
            raise Refused("It is cancelled already")
        return await super().cancel(trip)


class Keeping(Faithful):
    """Says that it has cancelled."""

    async def cancel(self, trip: BookVacationInput) -> Any:
        return await asyncio.sleep(0, Released())


class Particular(Faithful):
    """Cancels only what there is."""

    async def cancel(self, trip: BookVacationInput) -> Any:
        if self.key(trip) not in self.bookings:
            raise Refused("There is no such reservation")
        return await super().cancel(trip)
