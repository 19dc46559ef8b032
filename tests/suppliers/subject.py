"""The supplier that the conformance suite asks, and how: as the service does, in its two forms.

A supplier that keeps to the port is asked directly, as often as the suite likes. One that keeps
less (`late` > 0) is asked through the service's own desk, which sends nothing twice to it. It knows
of no check: it only fails one when an answer is none of the port's.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from record import Record
from shared import KINDS, BookVacationInput, Execution, Kind, SagaPolicy
from suppliers import (
    Confirmed,
    Held,
    OutsideDesk,
    Pending,
    Refused,
    Released,
    Supplier,
    Try,
    TryAgain,
    Undecided,
)

Answer = TypeVar("Answer")

BUSY_TRIES = 10
"""A supplier that wants to be asked again later is asked so often before a check gives up. An undo
has as many tries."""

MOST_BOOKINGS = 10
"""Of one trip, by a supplier that books more than once: each is cancelled."""

LONGEST_PAUSE = 10.0
"""Seconds between two tries, as `RETRY_INTERVAL_CAP_SECONDS` has it."""


@dataclass(frozen=True)
class Items:
    """What can be booked at the supplier. What is `None` was not given."""

    item: str
    other: str | None = None
    unknown: str | None = None
    sold_out: str | None = None
    pending: str | None = None


@dataclass(frozen=True)
class Subject:
    """The supplier. All times are in seconds."""

    supplier: Supplier
    kind: Kind
    items: Items
    record: Record
    """For the desk."""
    late: float = 0.0
    token: str | None = None
    try_seconds: float = 30.0
    """The most that a call may take."""
    patience: float = 120.0
    """The most that it may take to decide what is pending."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    trips: list[BookVacationInput] = field(default_factory=list)

    def trip(
        self, item: str | None = None, name: str = "", hold_seconds: float | None = None
    ) -> BookVacationInput:
        """Return a trip of its own id, which ends in `name`, for an item of the supplier's."""
        trip_id = f"conformance-{uuid.uuid4().hex}{name}"
        items: dict[str, Any] = {f"book_{kind}_id": f"no-{kind}" for kind in KINDS}
        trip = BookVacationInput(
            attempts=3,
            book_user_id=trip_id,
            policy=SagaPolicy(try_timeout=self.try_seconds, step_deadline=self.patience),
            execution=Execution(trip_id, "conformance"),
            hold_seconds=hold_seconds,
            **items | {f"book_{self.kind}_id": item or self.items.item},
        )
        self.trips.append(trip)
        return trip

    def given(self, name: str) -> str:
        """Return an item of a sort, or skip the check."""
        item: str | None = getattr(self.items, name)
        if item is None:
            pytest.skip(f"needs --supplier-{name.replace('_', '-')}-item, which was not given")
        return item

    def desk(self, supplier: Supplier | None = None) -> OutsideDesk:
        """Return the service's desk before the supplier, or before what stands for it."""
        asked = supplier or self.supplier
        return OutsideDesk(self.kind, asked, self.record, "conformance", self.late)

    # What the service asks

    async def book(
        self, trip: BookVacationInput, attempt: int = 1, crowd: bool = False
    ) -> Confirmed:
        """Book what is to be had. In a `crowd` it may take several tries."""
        try:
            return await self.attempt(trip, attempt, crowd)
        except Refused as refused:
            pytest.fail(f"book refused {trip.item(self.kind)!r}, which can be booked: {refused}")

    async def refusal(self, trip: BookVacationInput, why: str) -> str:
        """Book what is not to be had, and return the words in which it is refused."""
        try:
            answer = await self.attempt(trip, 2)
        except Refused as refused:
            return str(refused)
        pytest.fail(f"book answered {answer}; it must raise Refused, because {why}")

    async def attempt(
        self, trip: BookVacationInput, attempt: int = 1, crowd: bool = False
    ) -> Confirmed:
        """Book until it is decided. Raises `Refused`."""
        if self.late > 0:
            found = await self.through(lambda: self.desk().book(trip, Try(attempt)))
            assert isinstance(found, Confirmed), f"book answered {found!r}; it must be Confirmed"
            return found
        answer = await self.ask("book", lambda: self.supplier.book(trip, attempt), crowd)
        match answer:
            case Confirmed():
                return answer
            case Pending(wait):
                return await self._decided(trip, wait)
        pytest.fail(f"book answered {answer!r}; it must answer Confirmed or Pending")

    async def _decided(self, trip: BookVacationInput, wait: float | None) -> Confirmed:
        waited = 0.0
        while waited <= self.patience:
            waited += wait or 1.0
            await self.pause(wait or 1.0)
            match await self.find(trip):
                case Confirmed() as confirmed:
                    return confirmed
                case Released():
                    raise Refused("what was pending was not booked in the end")
                case None:
                    pytest.fail("find answered None for what is pending: it would be booked again")
                case Pending(wait):
                    pass
                case Held():
                    pytest.fail("find answered Held for what was to be booked at once")
        pytest.fail(f"what is pending was not decided within {self.patience:g} seconds")

    async def cancel(self, trip: BookVacationInput) -> None:
        """Cancel, until it is done."""
        try:
            if self.late > 0:
                await self.through(lambda: self.desk().cancel(trip, Try()), crowd=True)
                return
            waited = 0.0
            while waited <= self.patience:
                answer = await self.ask("cancel", lambda: self.supplier.cancel(trip))
                if isinstance(answer, Released):
                    return
                if not isinstance(answer, Pending):
                    pytest.fail(f"cancel answered {answer!r}; it must be Released or Pending")
                waited += answer.wait or 1.0
                await self.pause(answer.wait or 1.0)
                if isinstance(await self.find(trip), Released):
                    return
        except Refused as refused:
            pytest.fail(f"cancel was refused; the suite needs an item with a refund: {refused}")
        pytest.fail(f"the cancellation was not done within {self.patience:g} seconds")

    async def find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        """Ask what a trip holds."""
        try:
            answer = await self.ask("find", lambda: self.supplier.find(trip))
        except Refused as refused:
            pytest.fail(f"find raised Refused, which decides nothing; raise TryAgain: {refused}")
        if answer is None or isinstance(answer, Confirmed | Held | Pending | Released):
            return answer
        pytest.fail(f"find answered {answer!r}, which is none of the port's answers")

    async def find_booked(self, trip: BookVacationInput) -> object:
        """Ask what a booked trip holds; it may take `late` seconds to show up."""
        step, waited = max(self.late / 4, 0.01), 0.0
        while (found := await self.find(trip)) is None and waited < self.late:
            await self.pause(step)
            waited += step
        return found

    async def assert_nothing_is_held(self, trip: BookVacationInput, after: str) -> None:
        """Fail if something is held, or shows up while it may."""
        if self.late > 0:
            await self.pause(self.late)
        found = await self.find(trip)
        held = isinstance(found, Confirmed | Held | Pending)
        assert not held, f"find answers {found} after {after}: it must be Released, or None"

    # How

    async def through(self, call: Callable[[], Awaitable[Answer]], crowd: bool = False) -> Answer:
        """Ask at a desk until it is decided, as the saga does."""
        waited = 0.0
        while waited <= self.try_seconds + self.late + self.patience:
            try:
                return await self.ask("the supplier", call, crowd)
            except Undecided as undecided:
                waited += max(undecided.wait, 0.01)
                await self.pause(max(undecided.wait, 0.01))
        pytest.fail("it was never decided, long after the time in which bookings may appear")

    async def ask(
        self, question: str, call: Callable[[], Awaitable[Answer]], crowd: bool = False
    ) -> Answer:
        """Ask once, or again if the supplier says when. Fail on what a quiet day does not have."""
        for number in range(BUSY_TRIES):
            try:
                async with asyncio.timeout(self.try_seconds):
                    return await call()
            except (Refused, Undecided):
                raise
            except TryAgain as error:
                if error.wait is None and not crowd:
                    pytest.fail(f"{question} raised {error!r}, and the suite had done nothing odd")
                await self.pause(error.wait or min(2.0**number, LONGEST_PAUSE))
            except TimeoutError:
                pytest.fail(f"{question} took more than {self.try_seconds:g} seconds")
            except Exception as error:
                pytest.fail(f"{question} raised {error!r}, which is none of the port's errors")
        pytest.fail(f"{question} was answered with `try again` {BUSY_TRIES} times")

    async def clear(self) -> None:
        """Leave nothing booked, as far as that can be helped."""
        if self.late > 0:
            await self.pause(self.late)
        for trip in self.trips:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self.try_seconds):
                    for _ in range(MOST_BOOKINGS):
                        if not isinstance(await self.supplier.find(trip), Confirmed | Pending):
                            break
                        await self.supplier.cancel(trip)
