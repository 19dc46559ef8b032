"""Looks at trips that have ended: asks the record, Temporal and the suppliers what they know.

What seems wrong is looked at again before it is said, because trips go on meanwhile and a supplier
may misspeak.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from audit.asking import Asking, Held, NotAsked
from audit.comparing import Known, Suspicion, compared
from audit.standing import standing
from bookings import BookingsError, TripWorkflows
from record import Record, RecordedTrip, RecordUnavailable, Reservation
from shared import BookVacationInput, Kind
from suppliers import Desks

logger = logging.getLogger(__name__)

AT_ONCE = 10
"""So many trips are looked at at once."""

LOOKS = 3
"""A difference is said only when so many looks in a row have shown it."""

PAUSE = 1.0
"""Seconds between two of these looks."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Look:
    """What a look at a trip has shown."""

    known: Known
    suspicions: Sequence[Suspicion]
    not_asked: frozenset[Kind] = frozenset()
    """The kinds whose suppliers could not be asked."""
    too_early: bool = False
    """Whether some supplier cannot know yet."""
    elsewhere: int = 0
    """Reservations at suppliers that are not set up any more."""

    @property
    def is_whole(self) -> bool:
        """Whether every supplier has answered that can know of the trip."""
        return not (self.not_asked or self.too_early)


class Looking:
    """Looks at trips, at some of them at once."""

    def __init__(
        self, workflows: TripWorkflows, record: Record, desks: Desks, asking: Asking
    ) -> None:
        self._workflows = workflows
        self._record = record
        self._desks = desks
        self._asking = asking

    async def look_at(self, rows: Sequence[RecordedTrip]) -> dict[str, Look | None]:
        """Return the last look at each of the trips, by its id.

        `None`: nothing can be made of the trip, which is logged. Raises `BookingsError` and
        `RecordError`.
        """
        by_trip = await self._record.reservations.of_all([row.trip_id for row in rows])

        async def first(row: RecordedTrip) -> Look:
            return await self._look(row, by_trip.get(row.trip_id, ()))

        looks = dict(zip((row.trip_id for row in rows), await each(first, rows), strict=True))
        for _ in range(LOOKS - 1):
            odd = [look.known.row for look in looks.values() if look and look.suspicions]
            if not odd:
                break
            await asyncio.sleep(PAUSE)
            for row, again in zip(odd, await each(self._look_again, odd), strict=True):
                before = looks[row.trip_id]
                looks[row.trip_id] = again and before and _in_both(before, again)
        return looks

    async def _look_again(self, row: RecordedTrip) -> Look:
        """Look at a trip whose row may have changed meanwhile."""
        fresh = await self._record.trips.by_id(row.trip_id) or row
        return await self._look(fresh, await self._record.reservations.of(row.trip_id))

    async def _look(self, row: RecordedTrip, reservations: Iterable[Reservation]) -> Look:
        by_kind = {each.kind: each for each in reservations}
        stands = await standing(self._workflows, row)
        now = dt.datetime.now(dt.UTC)
        if stands == "running":
            known = Known(row, stands, by_kind, {})
            return Look(known, compared(known, now))
        to_ask, too_early, elsewhere = self._whom_to_ask(row, by_kind, now)
        trip = self._workflows.input_of(row)
        answers = await asyncio.gather(*(self._ask(kind, trip) for kind in to_ask))
        told = dict(zip(to_ask, answers, strict=True))
        not_asked = {kind for kind, answer in told.items() if isinstance(answer, NotAsked)}
        held = {kind: each for kind, each in told.items() if not isinstance(each, NotAsked)}
        known = Known(row, stands, by_kind, held)
        return Look(known, compared(known, now), frozenset(not_asked), too_early, elsewhere)

    def _whom_to_ask(
        self, row: RecordedTrip, reservations: dict[Kind, Reservation], now: dt.datetime
    ) -> tuple[list[Kind], bool, int]:
        """Return whose suppliers are to be asked about a trip that has ended.

        And whether one of them cannot know yet, and of how many reservations nobody can be asked.
        """
        to_ask: list[Kind] = []
        too_early, elsewhere = False, 0
        for step in row.steps:
            own, desk = reservations.get(step.kind), self._desks[step.kind]
            supplier = None if own is None else own.supplier
            if step.state == "resolved" or row.closed_at is None:
                continue
            if row.status == "booked" and (supplier is None or supplier != desk.name):
                # The row itself is the reservation, or all that can be known of it.
                elsewhere += supplier is not None
                continue
            if desk.name is None:
                continue
            if now < row.closed_at + dt.timedelta(seconds=desk.late):
                too_early = True
                continue
            to_ask.append(step.kind)
        return to_ask, too_early, elsewhere

    async def _ask(self, kind: Kind, trip: BookVacationInput) -> Held | NotAsked:
        try:
            return await self._asking.held(kind, trip)
        except NotAsked as not_asked:
            return not_asked


async def each(
    work: Callable[[RecordedTrip], Awaitable[Answer]], rows: Sequence[RecordedTrip]
) -> list[Answer | None]:
    """Do something for each trip, for some at once; `None` where nothing can be made of a trip.

    Raises what concerns them all, as `unless_odd` does.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def one(row: RecordedTrip) -> Answer | None:
        async with places:
            return await unless_odd(row.trip_id, work(row))

    try:
        async with asyncio.TaskGroup() as tasks:
            all_of_them = [tasks.create_task(one(row)) for row in rows]
    except ExceptionGroup as group:
        # The callers know nothing of groups. What one trip has met, the others have met too.
        first = group.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in all_of_them]


async def unless_odd(trip_id: str, work: Awaitable[Answer]) -> Answer | None:
    """Do something for one trip; `None`: nothing can be made of it.

    That is logged, and the other trips are looked at all the same. Raises what concerns them all:
    `BookingsError` and `RecordUnavailable`.
    """
    try:
        return await work
    except (BookingsError, RecordUnavailable):
        raise
    except Exception:
        told = {"trip_id": trip_id}
        logger.exception("Audit: nothing can be made of trip %s", trip_id, extra=told)
        return None


def _in_both(before: Look, again: Look) -> Look:
    """Return the second look, with what both have shown."""
    seen = {(each.kind, each.step) for each in before.suspicions}
    both = [each for each in again.suspicions if (each.kind, each.step) in seen]
    return Look(again.known, both, again.not_asked, again.too_early, again.elsewhere)
