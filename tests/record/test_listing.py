"""Which trips there are: the list, page by page, and those that are looked after."""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from record import PlaceInList, Record, RecordedTrip
from shared import TripStatus
from tests.record.databases import transaction
from tests.record.trips import NOON, accepted, later, trip

OWNERS = ("shop", "desk")
STATUSES: tuple[TripStatus, ...] = ("booked", "needs_attention", "running")

MANY = 30


def numbered(number: int, **changes: Any) -> RecordedTrip:
    """Return a trip that was accepted so many seconds after noon, by threes at the same time."""
    return accepted(
        f"trip-{number:03}",
        owner=OWNERS[number % 2],
        status=STATUSES[number // 2 % 3],
        accepted_at=NOON + dt.timedelta(seconds=number // 3),
        **changes,
    )


def place(row: RecordedTrip) -> PlaceInList:
    return PlaceInList(row.accepted_at, row.trip_id)


@pytest.fixture
async def listed(record: Record) -> list[RecordedTrip]:
    """Trips in the record, as they are to be listed."""
    rows = [numbered(number) for number in range(MANY)]
    for row in rows[::2] + rows[1::2]:
        await record.trips.accept(row)
    return sorted(rows, key=place, reverse=True)


async def all_pages(
    record: Record, limit: int, after: PlaceInList | None = None, **which: Any
) -> list[list[RecordedTrip]]:
    """Turn the pages until one is empty."""
    pages: list[list[RecordedTrip]] = []
    while page := await record.trips.page(limit, after=after, **which):
        pages.append(page)
        after = place(page[-1])
        assert len(pages) <= 2 * MANY, "The pages have no end"
    return pages


def flat(pages: Sequence[Sequence[RecordedTrip]]) -> list[RecordedTrip]:
    return [row for page in pages for row in page]


async def test_the_list_is_newest_first_and_has_each_trip_once_in_full_pages(
    record: Record, listed: list[RecordedTrip]
) -> None:
    for owner, status in itertools.product([None, *OWNERS], [None, *STATUSES]):
        wanted = [
            row for row in listed if status in (None, row.status) and owner in (None, row.owner)
        ]
        assert len(wanted) >= MANY / 6
        for limit in (1, 7, MANY + 1):
            pages = await all_pages(record, limit, status=status, owner=owner)
            assert flat(pages) == wanted, (owner, status, limit)
            assert {len(page) for page in pages[:-1]} <= {limit}, (owner, status)


async def test_trips_that_come_and_change_meanwhile_move_no_other_in_the_list(
    record: Record, listed: list[RecordedTrip]
) -> None:
    seen = await record.trips.page(10)
    for number in range(MANY, MANY + 15):
        await record.trips.accept(numbered(number))
    await record.trips.found(listed[15], "needs_attention", "Stopped")
    await record.trips.begin_cancellation(listed[15].trip_id)
    rest = flat(await all_pages(record, 10, place(seen[-1])))
    assert [row.trip_id for row in [*seen, *rest]] == [row.trip_id for row in listed]


async def test_places_before_and_after_all_trips_are_places(
    record: Record, listed: list[RecordedTrip]
) -> None:
    future = PlaceInList(dt.datetime(9999, 1, 1, tzinfo=dt.UTC), "")
    past = PlaceInList(dt.datetime(1, 1, 2, tzinfo=dt.UTC), "~")
    assert await record.trips.page(3, after=future) == listed[:3]
    assert await record.trips.page(3, after=past) == []


async def test_the_trips_of_a_page_come_with_their_steps(record: Record) -> None:
    for trip_id in ("one", "two", "three"):
        await record.trips.accept(accepted(trip_id))
    await record.reservations.reserve(trip("one"), "car")
    await record.reservations.count_failure(trip("two"), "car", "No room", final=True)
    states = {row.trip_id: row.steps[0].state for row in await record.trips.page(10)}
    assert states == {"one": "booked", "two": "undoing", "three": "booking"}


OTHERS = """INSERT INTO trips (trip_id, owner, request, status, workflow_id, accepted_at)
SELECT n, 'owner ' || mod(n, 50), '{}', 'status ' || mod(n, 50), n, now() - n * interval '1 hour'
FROM generate_series(1, 2000) AS n"""
"""Trips of others. By none, or by those of another test, the planner is at a loss."""


@pytest.mark.parametrize("which", [{}, {"owner": "shop"}, {"status": "booked"}])
async def test_a_page_is_found_in_an_index(record: Record, which: dict[str, Any]) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(record.database._engine, "before_cursor_execute", note)
    await record.trips.page(20, **which)
    sa.event.remove(record.database._engine, "before_cursor_execute", note)
    statement, parameters = next(one for one in asked if "LIMIT" in one[0])
    with transaction(record) as connection:
        explain = "EXPLAIN QUERY PLAN"
        if connection.dialect.name == "postgresql":
            explain = "EXPLAIN"
            connection.exec_driver_sql(OTHERS)
            connection.exec_driver_sql("ANALYZE trips")
            # Anything else seems cheaper for so few.
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())
        connection.rollback()
    assert "_".join(["trips", "by", *(which or ["age"])]) in plan
    assert "Sort" not in plan and "TEMP B-TREE" not in plan


# Those that are looked after


async def test_the_open_trips_come_by_id_and_each_once(record: Record) -> None:
    for status in ("running", "needs_attention", "booked", "rolled_back", "cancelled"):
        for closed_at in (NOON, None):
            name = f"{status} {'closed' if closed_at else 'open'}"
            await record.trips.accept(accepted(name, status=status, closed_at=closed_at))
    await record.trips.accept(accepted("running again"))
    await record.trips.accept(accepted("running too young", accepted_at=later(20)))
    found: list[str] = []
    while rows := await record.trips.open_trips(later(20), found[-1] if found else "", 2):
        assert len(rows) <= 2
        found += [row.trip_id for row in rows]
    assert found == ["needs_attention open", "running again", "running open"]


async def test_of_many_ids_those_are_told_that_are_not_just_running(record: Record) -> None:
    rows = [
        accepted("running"),
        accepted("stuck", status="needs_attention"),
        accepted("over", status="booked", closed_at=NOON),
        accepted("going-back", status="running", cancelled_at=NOON),
        accepted("not-asked-about", status="booked", closed_at=NOON),
    ]
    for row in rows:
        await record.trips.accept(row)
    asked = {row.trip_id for row in rows[:4]} | {"nobody's"}
    told = await record.trips.not_just_running(asked)
    assert sorted(told, key=lambda row: row.trip_id) == [rows[3], rows[2], rows[1]]
    many = {f"missing-{number}" for number in range(10_000)} | {"over"}
    assert await record.trips.not_just_running(many) == [rows[2]]
    assert await record.trips.not_just_running(set()) == []


async def test_of_many_ids_those_that_the_record_does_not_have_are_told(
    record: Record, listed: list[RecordedTrip]
) -> None:
    missing = {f"missing-{number}" for number in range(1_200)}
    known = {row.trip_id for row in listed}
    assert await record.trips.missing(known | missing) == missing
    assert await record.trips.missing(known) == set()
    assert await record.trips.missing(set()) == set()
