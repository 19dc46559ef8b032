"""The desks, where the activities book: how a supplier's answers become one booking and no more.

Behind a desk may sit a supplier that is somebody else's service. Then the record keeps what was
asked of it, noted before it is asked, so that whoever comes after a crash knows what may be held.
A desk never waits for a supplier to decide: it says when to ask again, and Temporal waits.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from record import Record, RecordBroken, RecordUnavailable, Reservation, ReservationRefused
from shared import BookVacationInput, Kind
from suppliers.port import (
    Confirmed,
    OutcomeUnknown,
    Pending,
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
"""Seconds between two questions about something undecided. They are the rarer the longer it takes,
because each one is a few events in the trip's history."""


class Undecided(SupplierError):
    """Nobody can tell yet what is held: ask again after `wait` seconds. That is no failed try."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait


class Desk(Protocol):
    """Books one kind of item for the activities, each call as often as they like.

    Each raises `Refused`, `TryAgain` and `Undecided`.
    """

    @property
    def name(self) -> str | None:
        """By which the record knows where the item is held; `None`: in the record itself."""

    @property
    def late(self) -> float:
        """For so many seconds after a call a booking may still take effect, or show up."""

    async def book(self, trip: BookVacationInput, attempt: int) -> Confirmed:
        """Hold the trip's item, once, however often it is asked for."""

    async def cancel(self, trip: BookVacationInput) -> Released:
        """Release what the trip holds, nothing included; nothing of it is booked any more."""

    async def find(self, trip: BookVacationInput) -> Confirmed | Pending | Released | None:
        """Tell what the supplier holds, whatever the record says; `None`: it knows nothing of it.

        Raises `AnotherItem` and `TryAgain`.
        """

    async def cancel_late_booking(self, trip: BookVacationInput) -> Released:
        """Release what has shown up for a trip that is over, and holds nothing by the record."""

    async def refuse_late_booking(self, trip: BookVacationInput) -> None:
        """Refuse every later `book` of the trip, whatever is held: an operator has settled it."""

    async def close(self) -> None:
        """Close what is open to the supplier."""


Desks = Mapping[Kind, Desk]
"""Where each kind is booked."""


@dataclass(frozen=True)
class OutsideDesk:
    """Books one kind at a supplier that is somebody else's service.

    `late` is in seconds. 0: the supplier keeps to the port, so a booking may be sent again at any
    time, and none takes effect after its cancellation. More: a booking may take effect, or show up,
    for so long after its call has ended, and nothing that was sent is sent again before that.
    """

    kind: Kind
    supplier: Supplier
    record: Record
    name: str
    """By which the record knows where the item is held."""
    late: float = 0.0

    async def book(self, trip: BookVacationInput, attempt: int) -> Confirmed:
        """Hold the trip's item, or find it held."""
        over_at = _now() + dt.timedelta(seconds=trip.policy.try_timeout)
        earlier = await self._begin_try(trip, over_at)
        if earlier is not None:
            if found := await self._held_already(trip, earlier):
                return found
            overtaken = await self._begin_try(trip, over_at, instead_of=earlier)
            if overtaken is not None:
                raise self._undecided(trip, overtaken)
        if _now() >= over_at:
            # Frozen since its note: it has been looked for, perhaps, and is not expected any more.
            raise Unavailable(f"The {self.kind} supplier was not asked in time")
        try:
            answer = await self.supplier.book(trip, attempt)
        except (Refused, Unavailable):
            if earlier is None:  # Otherwise the earlier call may still take effect.
                await self._in_record(self.record.end_try(trip, self.kind, over_at, None))
            raise
        except (OutcomeUnknown, asyncio.CancelledError):
            await self._may_appear_from_now_on(trip, over_at)
            raise
        if isinstance(answer, Pending):
            await self._may_appear_from_now_on(trip, over_at)
        return await self._decided(trip, answer)

    async def cancel(self, trip: BookVacationInput) -> Released:
        """Release what the trip holds, and what a late call may still come to hold."""
        held = await self._in_record(self.record.begin_cancel(trip, self.kind))
        if held is None:
            return Released()
        seen_by = self._seen_by(held)
        if seen_by or held.state == "cancelling":
            match await self.supplier.find(trip):
                case None | Released() if seen_by and _now() < seen_by:
                    raise self._undecided(trip, held, until=seen_by)
                case Released():
                    return await self._released(trip)
                case None if seen_by and held.reference is None:
                    return await self._released(trip)
        answer = await self.supplier.cancel(trip)
        if isinstance(answer, Pending):
            if held.since and (_now() - held.since).total_seconds() > trip.policy.step_deadline:
                raise Refused(f"The {self.kind} supplier has not cancelled in time")
            raise self._undecided(trip, held, answer.wait)
        return await self._released(trip)

    async def find(self, trip: BookVacationInput) -> Confirmed | Pending | Released | None:
        """Tell what the supplier holds, whatever the record says."""
        return await self.supplier.find(trip)

    async def cancel_late_booking(self, trip: BookVacationInput) -> Released:
        """Release what has shown up for a trip that is over."""
        await self._in_record(self.record.begin_late_cancel(trip, self.kind, self.name))
        return await self.cancel(trip)

    async def refuse_late_booking(self, trip: BookVacationInput) -> None:
        """Refuse every later `book`; the supplier is not asked."""
        await self._in_record(self.record.settle(trip, self.kind))

    async def close(self) -> None:
        """Close what is open to the supplier."""
        await self.supplier.close()

    async def _may_appear_from_now_on(self, trip: BookVacationInput, over_at: dt.datetime) -> None:
        """Take note that the call has ended; the time in which it may take effect has begun."""
        if self.late > 0:
            await self._in_record(self.record.end_try(trip, self.kind, over_at, _now()))

    async def _begin_try(
        self, trip: BookVacationInput, over_at: dt.datetime, instead_of: Reservation | None = None
    ) -> Reservation | None:
        return await self._in_record(
            self.record.begin_try(trip, self.kind, self.name, over_at, instead_of)
        )

    async def _held_already(
        self, trip: BookVacationInput, earlier: Reservation
    ) -> Confirmed | None:
        """Return what an earlier try has booked; `None`: nothing, and it may be sent again."""
        if earlier.state == "reserved":
            return Confirmed(earlier.reference)
        seen_by = self._seen_by(earlier)
        may_appear = seen_by is not None and _now() < seen_by
        try:
            found = await self.supplier.find(trip)
        except TryAgain as failure:
            # The question has failed; what was asked before may not be sent again for all that.
            if may_appear or earlier.state == "pending":
                raise self._undecided(trip, earlier, failure.wait) from failure
            raise
        if found is not None:
            return await self._decided(trip, found, earlier)
        if may_appear:
            raise self._undecided(trip, earlier, until=seen_by)
        return None

    async def _decided(
        self,
        trip: BookVacationInput,
        answer: Confirmed | Pending | Released,
        earlier: Reservation | None = None,
    ) -> Confirmed:
        match answer:
            case Confirmed(reference):
                # A late supplier may take as long to know of it when it is asked to cancel it.
                shown_from = _now() if self.late > 0 else None
                confirm = self.record.confirm(trip, self.kind, reference, shown_from)
                await self._in_record(confirm)
                return answer
            case Pending(wait):
                if earlier is None or earlier.state != "pending":
                    await self._in_record(self.record.note_pending(trip, self.kind))
                raise self._undecided(trip, earlier, wait)
            case Released():
                raise Refused(f"The supplier has cancelled the {self.kind}")

    async def _released(self, trip: BookVacationInput) -> Released:
        await self._in_record(self.record.released(trip, self.kind))
        return Released()

    async def _in_record(self, call: Awaitable[Answer]) -> Answer:
        return await in_record(call, self.kind)

    def _seen_by(self, held: Reservation) -> dt.datetime | None:
        """Return by when a call of unknown outcome has taken effect if it ever does.

        `None`: nothing can appear any more.
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
        """Return what says when to ask again: as the supplier wishes, else ever more seldom."""
        if wait is None:
            age = (_now() - held.since).total_seconds() if held and held.since else 0.0
            wait = min(max(age / 2, trip.policy.retry_interval), LONGEST_LOOK_INTERVAL)
        if until is not None:
            wait = min(wait, max((until - _now()).total_seconds(), 0.0))
        return Undecided(f"The {self.kind} supplier has not decided yet", wait)


async def in_record(call: Awaitable[Answer], kind: Kind) -> Answer:
    """Ask the record. Raises what its failure means to the trip: `Refused` or `Unavailable`."""
    try:
        return await call
    except ReservationRefused as refused:
        raise Refused(str(refused)) from refused
    except RecordUnavailable as error:
        raise Unavailable(str(error)) from error
    except RecordBroken as bug:
        # No try of the same kind can succeed, so it is not tried again.
        logger.exception("The record is broken")
        raise Refused(f"The {kind} supplier failed") from bug


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
