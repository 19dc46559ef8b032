"""The desks, where the activities book: how a supplier's answers become one booking and no more.

The supplier behind a desk may be somebody else's service. Then the record notes each try before the
desk sends it, so that the next try after a crash knows what may be held. A desk never waits for a
supplier to decide: it says when to ask again, and Temporal waits.
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from temporalio.exceptions import ApplicationError

from record import Record, RecordBroken, RecordUnavailable, Reservation, ReservationRefused
from shared import BookVacationInput, Kind
from suppliers.observed import Call, Observer, observed
from suppliers.port import (
    Booking,
    Confirmed,
    Held,
    OutcomeUnknown,
    Pending,
    Quoted,
    Refused,
    Released,
    Supplier,
    SupplierError,
    TryAgain,
    Unavailable,
)

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LONGEST_LOOK_INTERVAL = 30.0
"""Seconds between two questions about something undecided, which become rarer as time goes by."""


class Undecided(SupplierError):
    """The supplier has not decided yet. Ask again after `wait` seconds; this is not a failure."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait


class RecordAway(ApplicationError):
    """The record cannot be asked now. No supplier has failed, so nothing counts."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, type="RecordAway")


@dataclass(frozen=True)
class Try:
    """A try of a step, or of its undo."""

    number: int = 1
    """Its number among those that Temporal has made of the activity."""
    waited: float = 0.0
    """Seconds from when the activity was scheduled to the beginning of this try."""
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return how long the activity has taken so far. No two hosts' clocks are compared."""
        return round(self.waited + time.monotonic() - self.begun, 3)


@dataclass(frozen=True)
class OutsideDesk:
    """Books one kind at a supplier that is somebody else's service, each call as often as asked.

    With `late` 0 the supplier keeps to the port: a booking may be sent again at any time, and does
    not take effect after its cancellation. Otherwise a booking may take effect or show up `late`
    seconds after its call has ended, and the desk sends nothing again before that.
    """

    kind: Kind
    supplier: Supplier
    record: Record
    name: str
    """The supplier's name in the record."""
    late: float = 0.0
    observer: Observer | None = None
    places: AbstractAsyncContextManager[None] = field(default_factory=nullcontext)
    """A call waits here for its turn. That is no failure of the supplier, so its time begins after
    it."""

    async def book(self, trip: BookVacationInput, tried: Try) -> Confirmed | Held | Quoted:
        """Book the trip's item, or hold it, or find it so. Book for good what was held before."""
        async with self.places:
            return await self._book(trip, tried)

    async def _book(self, trip: BookVacationInput, tried: Try) -> Confirmed | Held | Quoted:
        outside = self.record.outside
        over_at = _now() + dt.timedelta(seconds=trip.policy.try_timeout)
        begin = partial(outside.begin_try, trip, self.kind, self.name, over_at)
        earlier = await in_record(begin())
        found: Confirmed | Held | Quoted | None = None
        if earlier is not None:
            found = await self._held_already(trip, earlier, tried)
            if isinstance(found, Confirmed | Quoted) or (found and trip.hold_seconds):
                return found
            overtaken = await in_record(begin(instead_of=earlier))
            if overtaken is not None:
                raise self._undecided(trip, overtaken)
        if _now() >= over_at:
            # The process was frozen. An undo may have looked for the booking since, and be done.
            raise Unavailable(f"The {self.kind} supplier was not asked in time")
        try:
            answer: Booking
            if found:
                answer = await self._ask("confirm", self.supplier.confirm(trip), trip)
            else:
                answer = await self._ask("book", self.supplier.book(trip, tried.number), trip)
        except (Refused, Unavailable):
            # Otherwise the earlier call may still take effect.
            if earlier is None or earlier.over_at is None:
                await in_record(outside.end_try(trip, self.kind, over_at, None))
            raise
        except (OutcomeUnknown, asyncio.CancelledError):
            await self._may_appear_from_now_on(trip, over_at)
            raise
        if isinstance(answer, Pending):
            await self._may_appear_from_now_on(trip, over_at)
        return await self._decided(trip, answer, tried)

    async def cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        """Release what the trip holds, also what a late call may still book."""
        async with self.places:
            return await self._cancel(trip, tried)

    async def _cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        held = await in_record(self.record.outside.begin_cancel(trip, self.kind))
        if held is None:
            return Released()
        seen_by = self._seen_by(held)
        if seen_by or held.state == "cancelling":
            match await self._find(trip):
                case None | Released() if seen_by and _now() < seen_by:
                    raise self._undecided(trip, held, until=seen_by)
                case Released() as released:
                    return await self._released(trip, tried, released)
                case None if seen_by and held.reference is None:
                    return await self._released(trip, tried, Released())
        answer = await self._ask("cancel", self.supplier.cancel(trip), trip)
        if isinstance(answer, Pending):
            cancelling = held if held.state == "cancelling" else None  # `None`: it has just begun.
            if _age(cancelling) > trip.policy.step_deadline:
                raise Refused(f"The {self.kind} supplier has not cancelled in time")
            raise self._undecided(trip, cancelling, answer.wait)
        return await self._released(trip, tried, answer)

    async def find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        """Tell what the supplier holds, whatever the record says; `None` if it knows of nothing.

        Raises `AnotherItem` and `TryAgain`.
        """
        async with self.places:
            return await self._find(trip)

    async def _find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        return await self._ask("find", self.supplier.find(trip), trip)

    async def cancel_late_booking(self, trip: BookVacationInput) -> Released:
        """Release what has shown up for a trip that is over."""
        await in_record(self.record.outside.begin_late_cancel(trip, self.kind, self.name))
        return await self.cancel(trip, Try())

    async def close(self) -> None:
        """Close what is open to the supplier."""
        await self.supplier.close()

    async def _may_appear_from_now_on(self, trip: BookVacationInput, over_at: dt.datetime) -> None:
        """Note that the call has ended: its booking may take effect from now on."""
        if self.late > 0:
            await in_record(self.record.outside.end_try(trip, self.kind, over_at, _now()))

    async def _ask(self, call: Call, asking: Awaitable[Answer], trip: BookVacationInput) -> Answer:
        return await in_time(observed(self.observer, self.kind, call, asking), trip, self.kind)

    async def _held_already(
        self, trip: BookVacationInput, earlier: Reservation, tried: Try
    ) -> Confirmed | Held | Quoted | None:
        """Return what an earlier try has come to; `None` if the booking may be sent.

        If the trip is to be booked, what is held may be confirmed.
        """
        match earlier.state:
            case "reserved":
                return Confirmed(earlier.reference)
            case "quoted":
                return Quoted(earlier.price) if trip.hold_seconds else None
            case "held" if trip.hold_seconds or earlier.over_at is None:
                return Held(0.0, earlier.price)
        seen_by = self._seen_by(earlier)
        may_appear = seen_by is not None and _now() < seen_by
        try:
            found = await self._find(trip)
        except TryAgain as failure:
            # Only the question has failed. The booking itself may still appear.
            if may_appear or earlier.state == "pending":
                raise self._undecided(trip, earlier, failure.wait) from failure
            raise
        held = found if isinstance(found, Held) and not trip.hold_seconds else None
        if found is not None and held is None:
            return await self._decided(trip, found, tried, earlier)
        if may_appear:
            raise self._undecided(trip, earlier, until=seen_by)
        if earlier.state == "held" and held is None:
            raise Refused(f"The {self.kind} is not held any more")
        return held

    async def _decided(
        self,
        trip: BookVacationInput,
        answer: Booking | Released,
        tried: Try,
        earlier: Reservation | None = None,
    ) -> Confirmed | Held | Quoted:
        outside, took = self.record.outside, tried.seconds
        # A late supplier may need that time before it can cancel the booking.
        shown_from = _now() if self.late > 0 else None
        match answer:
            case Confirmed(reference, price):
                await in_record(
                    outside.confirm(trip, self.kind, reference, shown_from, took, price)
                )
                return answer
            case Held(seconds, price) if trip.hold_seconds:
                await in_record(outside.hold(trip, self.kind, price, seconds, shown_from, took))
                return answer
            case Quoted(price) if trip.hold_seconds:
                await in_record(outside.hold(trip, self.kind, price, None, None, took))
                return answer
            case Held() | Quoted():
                raise OutcomeUnknown(f"The {self.kind} supplier has not booked, but held or quoted")
            case Pending(wait):
                if earlier is None or earlier.state != "pending":
                    await in_record(outside.note_pending(trip, self.kind))
                raise self._undecided(trip, earlier, wait)
            case Released():
                raise Refused(f"The supplier has cancelled the {self.kind}")

    async def _released(self, trip: BookVacationInput, tried: Try, released: Released) -> Released:
        told = self.record.outside.released(trip, self.kind, tried.seconds, released.refund)
        await in_record(told)
        return released

    def _seen_by(self, held: Reservation) -> dt.datetime | None:
        """Return when a call of unknown outcome can no longer take effect.

        `None`: it cannot already.
        """
        if held.over_at is None or not self.late:
            return None
        return held.over_at + dt.timedelta(seconds=self.late)

    def _undecided(
        self,
        trip: BookVacationInput,
        held: Reservation | None,
        wait: float | None = None,
        until: dt.datetime | None = None,
    ) -> Undecided:
        """Return the error that says when to ask again: ever later, or when the supplier wishes."""
        own = min(max(_age(held) / 2, trip.policy.retry_interval), LONGEST_LOOK_INTERVAL)
        wait = max(own, wait or 0.0)
        if until is not None:
            wait = min(wait, max((until - _now()).total_seconds(), 0.0))
        return Undecided(f"The {self.kind} supplier has not decided yet", wait)


async def in_time(asking: Awaitable[Answer], trip: BookVacationInput, kind: Kind) -> Answer:
    """Ask a supplier. Raises `OutcomeUnknown` when it takes longer than the trip's policy says."""
    try:
        async with asyncio.timeout(trip.policy.try_timeout):
            return await asking
    except TimeoutError as error:
        raise OutcomeUnknown(f"The {kind} supplier did not answer in time") from error


async def in_record(call: Awaitable[Answer]) -> Answer:
    """Ask the record. Raises `Refused` for what it refuses, and `RecordAway` if it fails.

    A broken record is a bug or a missing migration. Until somebody mends it, it counts as away: it
    says nothing about the supplier.
    """
    try:
        return await call
    except ReservationRefused as refused:
        raise Refused(str(refused)) from refused
    except RecordUnavailable as error:
        raise RecordAway(str(error)) from None
    except RecordBroken as bug:
        logger.exception("The record is broken")
        raise RecordAway(str(bug)) from None


def _age(held: Reservation | None) -> float:
    since = held and held.updated_at
    return (_now() - since).total_seconds() if since else 0.0


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
