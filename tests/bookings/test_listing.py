"""The list: newest first, each trip once, full pages until the last, whatever comes meanwhile."""

import base64
import contextlib
import datetime as dt
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bookings import Bookings, Caller, Trip, UnknownCursor
from record import Record
from shared import TripStatus
from tests.bookings.requests import DESK, SHOP, UNASKED, new_trip
from tests.conftest import IMPATIENT

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.fixture
async def each_record(database_url: str) -> AsyncIterator[Record]:
    """An empty record on each kind of database."""
    async with Record.open(database_url) as opened:
        yield opened


@pytest.fixture
async def asked(each_record: Record) -> Bookings:
    """The bookings, whose list asks the record alone."""
    return Bookings(UNASKED, each_record, IMPATIENT)


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


def ids(trips: list[Trip]) -> list[str]:
    return [trip.user_id for trip in trips]


# Pages


async def test_pages_are_full_until_the_last_and_hold_every_trip_once_the_newest_first(
    asked: Bookings, each_record: Record
) -> None:
    numbers = list(range(23))
    random.Random(0).shuffle(numbers)
    for number in numbers:
        # Some are of the same moment.
        await accept(each_record, f"trip-{number:02}", minutes=number // 5)
    newest_first = [f"trip-{number:02}" for number in reversed(range(23))]
    for limit in (1, 4, 22, 23, 24, 100):
        found = await pages(asked, limit)
        assert [trip_id for page in found for trip_id in page] == newest_first
        assert {len(page) for page in found[:-1]} <= {limit}
        assert 1 <= len(found[-1]) <= limit


async def test_an_empty_list_has_one_empty_page(asked: Bookings) -> None:
    assert await pages(asked, 20) == [[]]


async def test_trips_that_come_and_change_while_one_turns_the_pages_disturb_nothing(
    asked: Bookings, each_record: Record
) -> None:
    for number in range(10):
        await accept(each_record, f"trip-{number}", minutes=number)
    page, cursor = await asked.page(None, 4, None, DESK)
    seen = ids(page)
    await accept(each_record, "newer", minutes=99)
    await accept(each_record, "backdated", minutes=4.5)  # Another process's clock was behind.
    await each_record.trips.withdraw("trip-5", "rolled_back", "for a test")
    await each_record.trips.withdraw("trip-9", "rolled_back", "for a test")
    while cursor:
        page, cursor = await asked.page(None, 4, cursor, DESK)
        seen += ids(page)
    expected = [f"trip-{number}" for number in reversed(range(10))]
    expected.insert(5, "backdated")
    assert seen == expected


async def test_owner_and_status_narrow_the_list_together_and_its_pages_stay_full(
    asked: Bookings, each_record: Record
) -> None:
    for number in range(12):
        await accept(
            each_record,
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


async def test_a_cursor_shows_nobody_what_is_not_theirs(
    asked: Bookings, each_record: Record
) -> None:
    for number in range(4):
        await accept(each_record, f"trip-{number}", minutes=number, owner="other")
    await accept(each_record, "mine", minutes=-1)
    _, cursor = await asked.page(None, 2, None, DESK)
    page, _ = await asked.page(None, 2, cursor, SHOP)
    assert ids(page) == ["mine"]


# Forged cursors


def encoded(content: str | bytes) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).decode()


TIME = "2026-01-31T12:00:00+00:00"

FORGERIES = {
    "nothing": "",
    "no base64": "garbage",
    "not ASCII": "é",
    "a lone surrogate": "\udc80",
    "not padded": encoded(json.dumps([TIME, "trip"])).rstrip("="),
    "a blank in it": f" {encoded(json.dumps([TIME, 'trip']))}",
    "not UTF-8": encoded(b"\xff\xfe"),
    "nothing in it": encoded(b""),
    "deeply nested": encoded("[" * 1_490),
    "a long number": encoded("9" * 1_490),
    "huge numbers": encoded("[1e999, 1e999]"),
    "no number": encoded("[NaN, Infinity]"),
    **{
        f"JSON: {ascii(value)[:60]}": encoded(json.dumps(value))
        for value in [
            None,
            5,
            True,
            "text",
            {},
            {"0": TIME, "1": "trip"},
            [],
            [TIME],
            [TIME, "trip", "more"],
            ["trip", TIME],
            [5, "trip"],
            [TIME, 5],
            [TIME, None],
            [TIME, ["trip"]],
            [None, None],
            [TIME, "a\0b"],
            [TIME, "a\ud800b"],
            ["", ""],
            ["yesterday", "trip"],
            ["2026-01-31T12:00:00+99:00", "trip"],
            ["2026-02-30T12:00:00+00:00", "trip"],
            ["0000-01-01T00:00:00+00:00", "trip"],
            ["0001-01-01T00:00:00+23:59", "trip"],
            ["9999-12-31T23:59:59-23:59", "trip"],
            ["99999-12-31T23:59:59+00:00", "trip"],
            ["-0044-03-15T12:00:00+00:00", "trip"],
            ["20\u0662\u0666-01-31T12:00:00+00:00", "trip"],
        ]
    },
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=[*FORGERIES])
async def test_a_forged_cursor_is_refused_and_asks_nobody(forgery: str) -> None:
    record = Record.connect("sqlite:////dev/null/nobody-is-asked.db")
    with pytest.raises(UnknownCursor):
        await Bookings(UNASKED, record, IMPATIENT).page(None, 10, forgery, DESK)


# Places at which no trip is, in forms that the list does not write itself.
UNUSUAL = {
    "the first moment": ["0001-01-01T00:00:00+00:00", "trip"],
    "the last moment": ["9999-12-31T23:59:59.999999+00:00", "trip"],
    "another zone": ["2026-01-31T13:00:00+01:00", "trip"],
    "no zone": ["2026-01-31T12:00:00", "trip"],
    "a week's day": ["2026-W05-6", "trip"],
    "an id like SQL": [TIME, "') OR ('1' = '1"],
    "an id of all Unicode": [TIME, "\U0010ffff\u202e🧳\ufffe"],
    "an empty id": [TIME, ""],
    "a long id": [TIME, "x" * 1_400],
}


@pytest.mark.parametrize("place", UNUSUAL.values(), ids=[*UNUSUAL])
async def test_a_place_where_no_trip_is_is_one_all_the_same(
    asked: Bookings, place: list[str]
) -> None:
    cursor = encoded(json.dumps(place, ensure_ascii=False))
    assert await asked.page(None, 10, cursor, DESK) == ([], None)


async def test_random_bytes_are_a_place_or_refused(asked: Bookings) -> None:
    chance = random.Random(11)
    place = json.dumps([TIME, "trip-1"]).encode()
    for number in range(300):
        forged = bytearray(place)
        for _ in range(chance.randint(1, 4)):
            forged[chance.randrange(len(forged))] = chance.randrange(256)
        raw = bytes(forged) if number % 3 else chance.randbytes(chance.randint(0, 60))
        with contextlib.suppress(UnknownCursor):
            assert await asked.page(None, 10, encoded(raw), DESK) == ([], None)
