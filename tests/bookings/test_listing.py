"""The list: newest first, each trip once, full pages until the last, whatever comes meanwhile."""

import base64
import datetime as dt
import json
from typing import Any

import pytest

from bookings import Bookings, Caller, RecordedTrip, UnknownCursor
from record import Record
from shared import TripStatus
from tests.bookings.requests import DESK, SHOP, UNASKED, new_trip
from tests.conftest import IMPATIENT

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.fixture
async def asked(record: Record) -> Bookings:
    """The bookings, whose list asks the record alone."""
    return Bookings(UNASKED, record, IMPATIENT)


async def accept(record: Record, trip_id: str, minutes: float = 0, **changes: Any) -> None:
    """Write a trip that was accepted so many minutes after noon."""
    accepted_at = NOON + dt.timedelta(minutes=minutes)
    await record.trips.accept(new_trip(trip_id, accepted_at=accepted_at, **changes))


async def pages(
    asked: Bookings, limit: int, status: TripStatus | None = None, caller: Caller = DESK
) -> list[list[str]]:
    """Return the ids on each page."""
    found: list[list[str]] = []
    cursor: str | None = None
    while True:
        page, cursor = await asked.page(status, limit, cursor, caller)
        found.append(ids(page))
        if cursor is None:
            return found


def ids(trips: list[RecordedTrip]) -> list[str]:
    return [trip.trip_id for trip in trips]


# Pages


async def test_owner_and_status_narrow_the_list_together_and_its_pages_stay_full(
    asked: Bookings, record: Record
) -> None:
    for number in range(12):
        await accept(
            record,
            f"trip-{number:02}",
            minutes=number,
            owner="shop" if number % 2 else "other",
            status="booked" if number % 3 else "cancelled",
        )
    assert await pages(asked, 2, None, SHOP) == [
        ["trip-11", "trip-09"],
        ["trip-07", "trip-05"],
        ["trip-03", "trip-01"],
    ]
    assert await pages(asked, 3, "booked", SHOP) == [["trip-11", "trip-07", "trip-05"], ["trip-01"]]
    assert await pages(asked, 3, "cancelled", DESK) == [
        ["trip-09", "trip-06", "trip-03"],
        ["trip-00"],
    ]
    assert await pages(asked, 3, "cancelled", Caller("nobody", operator=False)) == [[]]


async def test_a_cursor_shows_nobody_what_is_not_theirs(asked: Bookings, record: Record) -> None:
    for number in range(4):
        await accept(record, f"trip-{number}", minutes=number, owner="other")
    await accept(record, "mine", minutes=-1)
    _, cursor = await asked.page(None, 2, None, DESK)
    page, _ = await asked.page(None, 2, cursor, SHOP)
    assert ids(page) == ["mine"]


# Forged cursors


def encoded(content: str | bytes) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).decode()


TIME = "2026-01-31T12:00:00+00:00"

FORGERIES = [
    "",
    "garbage",
    "é",
    "\udc80",
    encoded(json.dumps([TIME, "trip"])).rstrip("="),
    encoded(b"\xff\xfe"),
    encoded("[" * 1_490),
    encoded("9" * 1_490),
    *(
        encoded(json.dumps(value))
        for value in [
            {"0": TIME, "1": "trip"},
            [TIME, "trip", "more"],
            [5, "trip"],
            [TIME, None],
            [TIME, "a\0b"],
            [TIME, "a\ud800b"],
            ["yesterday", "trip"],
            ["0001-01-01T00:00:00+23:59", "trip"],
            ["9999-12-31T23:59:59-23:59", "trip"],
        ]
    ),
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: ascii(forgery)[:40])
async def test_a_forged_cursor_is_refused_and_asks_nobody(forgery: str) -> None:
    record = Record.connect("sqlite:////dev/null/nobody-is-asked.db")
    with pytest.raises(UnknownCursor):
        await Bookings(UNASKED, record, IMPATIENT).page(None, 10, forgery, DESK)


@pytest.mark.parametrize(
    "place",
    [
        ["9999-12-31T23:59:59.999999+00:00", "trip"],
        ["2026-01-31T12:00:00", "an id without a zone"],
        [TIME, "') OR ('1' = '1"],
        [TIME, "\U0010ffff\u202e🧳\ufffe"],
    ],
)
async def test_a_place_where_no_trip_is_is_one_all_the_same(
    asked: Bookings, place: list[str]
) -> None:
    cursor = encoded(json.dumps(place, ensure_ascii=False))
    assert await asked.page(None, 10, cursor, DESK) == ([], None)
