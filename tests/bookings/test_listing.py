"""The list: newest first, each trip once, full pages until the last, whatever comes meanwhile."""

import base64
import datetime as dt
import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from bookings import Bookings, Caller, Trip
from connection import lazy_client
from record import Record, RecordedTrip
from shared import KINDS, TripStatus
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of, listed, statuses_listed
from tests.bookings.test_bookings import DOOMED, NOTE, start_stuck
from tests.conftest import IMPATIENT
from tests.faults import FaultyRecord
from tests.trips import eventually

DESK = Caller("desk", operator=True)
SHOP = Caller("shop", operator=False)
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


@pytest.fixture
async def alone(own_database: str) -> Api:
    """An API whose Temporal is away: the list asks the record alone."""
    return api_of(await lazy_client({"target_host": "localhost:1"}))


@pytest.fixture
async def each_record(database_url: str) -> AsyncIterator[Record]:
    """An empty record on each kind of database."""
    async with Record.open(database_url) as opened:
        yield opened


@pytest.fixture
async def asked(each_record: Record) -> Bookings:
    return Bookings(await lazy_client({"target_host": "localhost:1"}), each_record, IMPATIENT)


async def accept(record: Record, trip_id: str, minutes: float = 0, **changes: Any) -> None:
    """Write a trip that was accepted so many minutes after noon."""
    accepted_at = NOON + dt.timedelta(minutes=minutes)
    values = {"owner": "shop", "request": dict(JOHN), "status": "running"} | changes
    await record.accept(
        RecordedTrip(trip_id=trip_id, workflow_id=trip_id, accepted_at=accepted_at, **values)
    )


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


# Through the API


async def test_bookings_are_listed_by_status(api: Api, faults: FaultyRecord) -> None:
    booked, cancelled, rolled_back = [
        body_of(await api.book(body))["user_id"] for body in (JOHN, JOHN, DOOMED)
    ]
    await api.call("POST", f"/bookings/{cancelled}/cancel")
    stuck = (await start_stuck(api, faults)).rpartition("/")[2]
    statuses = {
        booked: "booked",
        cancelled: "cancelled",
        rolled_back: "rolled_back",
        stuck: "needs_attention",
    }

    async def all_listed() -> bool:
        # The workflow says that it is stuck a moment before the record has it.
        return await statuses_listed(api) == statuses

    await eventually(all_listed)
    for user_id, status in statuses.items():
        assert await statuses_listed(api, status=status) == {user_id: status}
    await api.call("POST", f"/bookings/{stuck}/undo/hotel/resolve", json=NOTE)


@pytest.mark.usefixtures("worker")
async def test_a_trip_is_listed_as_soon_as_its_outcome_is_told(api: Api) -> None:
    for _ in range(5):
        user_id = body_of(await api.book(JOHN))["user_id"]
        row, *_ = await listed(api)
        assert (row["user_id"], row["status"]) == (user_id, "booked")


@pytest.mark.usefixtures("worker")
async def test_a_row_says_what_the_trip_is_and_where(api: Api) -> None:
    user_id = body_of(await api.book(JOHN))["user_id"]
    (row,) = await listed(api)
    assert {key: row[key] for key in ("name", *KINDS)} == {
        key: JOHN[key] for key in ("name", *KINDS)
    }
    looked_up = body_of(await api.get(f"/bookings/{user_id}"))
    assert {key: row[key] for key in row if key in looked_up} == {
        key: looked_up[key] for key in looked_up if key in row
    }


async def test_the_list_is_there_while_temporal_is_away(alone: Api, record: Record) -> None:
    await accept(record, "trip-1")
    assert await statuses_listed(alone) == {"trip-1": "running"}


# Pages


async def test_pages_are_full_until_the_last_and_hold_every_trip_once_the_newest_first(
    asked: Bookings, each_record: Record
) -> None:
    numbers = list(range(23))
    random.Random(0).shuffle(numbers)
    for number in numbers:
        # Several are of the same moment.
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
    await each_record.withdraw("trip-5", "rolled_back", "for a test")
    await each_record.withdraw("trip-9", "rolled_back", "for a test")
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


async def test_a_trip_whose_owner_nobody_knows_yet_is_the_operators_alone(
    asked: Bookings, each_record: Record
) -> None:
    await accept(each_record, "older-than-the-record", owner=None, request={})
    assert await pages(asked, 2) == [["older-than-the-record"]]
    assert await pages(asked, 2, None, SHOP) == [[]]


# Bad questions


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"status": "bogus"}, "status"),
        ({"status": "booked' OR 1=1 --"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "9" * 400}, "limit"),
        ({"cursor": "x" * 2_001}, "cursor"),
        ({"order": "up"}, "order"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_bad_question_is_a_400_that_names_it(
    alone: Api, parameters: dict[str, str], field: str
) -> None:
    assert_problem(await alone.get("/bookings", query_string=parameters), 400, field)


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
async def test_a_forged_cursor_is_a_400_that_asks_nobody(
    alone: Api, forgery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_asked(*_: object, **__: object) -> None:
        raise AssertionError("The record was asked")

    monkeypatch.setattr(Record, "page", not_asked)
    response = await alone.get(f"/bookings?cursor={quoted(forgery)}")
    assert_problem(response, 400, "cursor")
    assert response.json is not None
    assert response.json["detail"] == "cursor: is not a cursor of this list"


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


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
    client: Client, database_url: str, place: list[str]
) -> None:
    api = api_of(client, database_url=database_url)
    cursor = encoded(json.dumps(place, ensure_ascii=False))
    response = await api.get("/bookings", query_string={"cursor": cursor})
    assert body_of(response) == {"bookings": [], "next_cursor": None}


async def test_random_bytes_are_never_a_500(client: Client, database_url: str) -> None:
    api = api_of(client, database_url=database_url)
    chance = random.Random(11)
    place = json.dumps([TIME, "trip-1"]).encode()
    for number in range(300):
        forged = bytearray(place)
        for _ in range(chance.randint(1, 4)):
            forged[chance.randrange(len(forged))] = chance.randrange(256)
        raw = bytes(forged) if number % 3 else os.urandom(chance.randint(0, 60))
        response = await api.get("/bookings", query_string={"cursor": encoded(raw)})
        assert response.status_code in (200, 400), raw
