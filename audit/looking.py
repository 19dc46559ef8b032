"""Looks at trips that have ended: asks the record, Temporal and the suppliers what they know.

What seems wrong is looked at again before it is said, because trips go on meanwhile and a supplier
may misspeak.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from audit.asking import Line, NotAsked
from audit.comparing import Look, compared
from bookings import BookingsError, TripWorkflows
from record import Record, RecordedTrip, RecordUnavailable, Reservation
from shared import Kind
from suppliers import Desks, OutsideDesk

logger = logging.getLogger(__name__)

AT_ONCE = 10
"""How many trips are looked at at the same time."""

LOOKS = 3
"""A difference is said only when so many looks in a row have shown it."""

PAUSE = 1.0
"""Seconds between two of these looks."""

Answer = TypeVar("Answer")


class Looking:
    """Looks at trips, at several at the same time."""

    def __init__(
        self,
        workflows: TripWorkflows,
        record: Record,
        desks: Desks,
        rates: Mapping[Kind, float | None],
    ) -> None:
        self._workflows = workflows
        self._record = record
        self._desks = desks
        self._lines = {
            kind: Line(desk, kind, rates[kind])
            for kind, desk in desks.items()
            if isinstance(desk, OutsideDesk)
        }

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
            odd = [look.row for look in looks.values() if look and look.differences]
            if not odd:
                break
            await asyncio.sleep(PAUSE)
            for row, again in zip(odd, await each(self._look_again, odd), strict=True):
                before = looks[row.trip_id]
                looks[row.trip_id] = again and before and _in_both(before, again)
        return looks

    async def agrees(self, row: RecordedTrip) -> bool:
        """Tell whether all agrees that a trip has ended as this row says."""
        look = await self._look(row, await self._record.reservations.of(row.trip_id))
        is_over = look.standing != "running" and look.is_whole and not look.elsewhere
        return is_over and not look.differences

    async def _look_again(self, row: RecordedTrip) -> Look:
        """Look at a trip whose row may have changed meanwhile."""
        fresh = await self._record.trips.by_id(row.trip_id) or row
        return await self._look(fresh, await self._record.reservations.of(row.trip_id))

    async def _look(self, row: RecordedTrip, reservations: Iterable[Reservation]) -> Look:
        by_kind = {each.kind: each for each in reservations}
        stands = await self._workflows.standing(row)
        now = dt.datetime.now(dt.UTC)
        look = Look(row, stands, by_kind)
        if stands != "running":
            look = await self._with_answers(look, now)
        return replace(look, differences=compared(look, now))

    async def _with_answers(self, look: Look, now: dt.datetime) -> Look:
        """Ask the suppliers about a trip whose workflow has ended."""
        to_ask, too_early, elsewhere = self._whom_to_ask(look.row, look.reservations, now)
        trip = self._workflows.input_of(look.row)
        answers = await asyncio.gather(*(self._lines[kind].held(trip) for kind in to_ask))
        told = zip(to_ask, answers, strict=True)
        held = {kind: each for kind, each in told if not isinstance(each, NotAsked)}
        return replace(
            look,
            held=held,
            not_asked=frozenset(to_ask) - held.keys(),
            too_early=too_early,
            elsewhere=elsewhere,
        )

    def _whom_to_ask(
        self, row: RecordedTrip, reservations: Mapping[Kind, Reservation], now: dt.datetime
    ) -> tuple[list[Kind], bool, int]:
        """Return the kinds whose suppliers are to be asked about a trip that has ended.

        The other values: whether a supplier cannot know yet, and how many reservations are at
        suppliers that are not set up any more.
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
            if step.kind not in self._lines:
                continue
            if now < row.closed_at + dt.timedelta(seconds=desk.late):
                too_early = True
                continue
            to_ask.append(step.kind)
        return to_ask, too_early, elsewhere


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
    seen = {(each.kind, each.step) for each in before.differences}
    both = [each for each in again.differences if (each.kind, each.step) in seen]
    return replace(again, differences=both)
