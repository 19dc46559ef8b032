"""The trips' rows: what becomes of a trip, over SQLite and PostgreSQL alike."""

import asyncio
import datetime as dt
import traceback
from typing import Any

import pytest
import sqlalchemy as sa

from record import Record, RecordBroken, RecordedTrip
from record.owners import fingerprint_of
from record.tables import reservations
from shared import KINDS, TripStatus
from tests.record.databases import execute, unchanged
from tests.record.trips import NOON, accepted, later, news, trip, trip_in

OVER: list[TripStatus] = ["rolled_back", "cancelled"]


async def status_of(record: Record) -> TripStatus | None:
    row = await record.trips.by_id("trip")
    return None if row is None else row.status


# Accepting


async def test_what_is_accepted_is_recorded_as_it_is(record: Record) -> None:
    row = accepted(request={"name": "🏖️ 山田", "attempts": 3, "train": None})
    assert await record.trips.accept(row) == (row, True)
    assert await record.trips.by_id("trip") == row


async def test_an_id_that_is_taken_gives_the_trip_that_has_it(record: Record) -> None:
    first = accepted()
    await record.trips.accept(first)
    again = accepted(owner="thief", request={}, accepted_at=later(60), key_fingerprint=None)
    for key in (None, "another-key"):
        assert await record.trips.accept(again, key) == (first, False)
    assert await record.trips.by_id("trip") == first
    assert await record.trips.by_key("thief", "another-key") is None


async def test_times_come_back_in_utc_whatever_zone_they_were_in(record: Record) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    await record.trips.accept(accepted(accepted_at=NOON.astimezone(zone), closed_at=NOON))
    row = await record.trips.by_id("trip")
    assert row is not None and row.closed_at is not None
    assert (row.accepted_at, row.closed_at) == (NOON, NOON)
    assert (row.accepted_at.tzinfo, row.closed_at.tzinfo) == (dt.UTC, dt.UTC)


# Idempotency keys


def keyless(trip_id: str, **changes: Any) -> RecordedTrip:
    return accepted(trip_id, **{"key_fingerprint": None, **changes})


async def test_a_key_that_comes_again_gives_its_trip(record: Record) -> None:
    first, new = await record.trips.accept(keyless("first"), "a-key")
    assert (new, first) == (True, keyless("first", key_fingerprint=fingerprint_of("a-key")))
    assert await record.trips.accept(keyless("second", request={}), "a-key") == (first, False)
    assert await record.trips.by_id("second") is None
    assert await record.trips.by_key("shop", "a-key") == first
    assert await record.trips.by_key("shop", "another-key") is None
    await record.trips.tell(trip("first"), news("cancelled"))
    again, new = await record.trips.accept(keyless("third"), "a-key")
    assert (again.trip_id, again.status, new) == ("first", "cancelled", False)


async def test_a_key_cannot_be_read_from_the_record(record: Record) -> None:
    row, _ = await record.trips.accept(keyless("trip"), "a-key")
    assert "a-key" not in str(row)


async def test_each_owner_has_keys_of_their_own(record: Record) -> None:
    for owner in ("shop", "desk"):
        assert (await record.trips.accept(keyless(f"{owner}-1", owner=owner), "a-key"))[1]
    found = await record.trips.by_key("desk", "a-key")
    assert found is not None and found.trip_id == "desk-1"


async def test_trips_without_a_key_are_each_new(record: Record) -> None:
    for trip_id in ("one", "two"):
        assert await record.trips.accept(keyless(trip_id)) == (keyless(trip_id), True)


async def test_a_key_gives_the_trip_that_version_2_made_of_it(record: Record) -> None:
    for owner in ("shop", "desk"):
        former = fingerprint_of(f"{owner}\na-key")
        await record.trips.accept(keyless(f"{owner}-1", owner=owner, key_fingerprint=former))
    again, new = await record.trips.accept(keyless("new", owner="desk"), "a-key")
    assert (again.trip_id, new) == ("desk-1", False)
    assert (await record.trips.accept(keyless("new", owner="other"), "a-key"))[1]


@pytest.mark.parametrize("same", ["id", "key"])
async def test_of_many_who_accept_an_id_or_a_key_at_once_one_is_the_first(
    pair: tuple[Record, Record], same: str
) -> None:
    named = ((record, f"{which}-{n}") for which, record in enumerate(pair) for n in range(10))
    answers = await asyncio.gather(
        *(
            record.trips.accept(
                keyless("same" if same == "id" else name), "same" if same == "key" else name
            )
            for record, name in named
        )
    )
    assert sorted(new for _, new in answers) == [False] * 19 + [True]
    assert len({(row.trip_id, row.key_fingerprint) for row, _ in answers}) == 1
    assert len(await pair[0].trips.page(100)) == 1


# Telling


async def test_a_workflow_tells_how_its_trip_ended(record: Record) -> None:
    await record.trips.accept(accepted())
    await record.trips.tell(trip(), news("rolled_back", 5, "No room"))
    assert await record.trips.by_id("trip") == accepted(
        status="rolled_back",
        reason="No room",
        closed_at=later(5),
        told_at=later(5),
        first_run_id="first-run",
    )


@pytest.mark.parametrize("status", OVER)
async def test_a_trip_is_not_undone_while_a_supplier_may_hold_what_nobody_sells_any_more(
    record: Record, status: TripStatus
) -> None:
    await record.trips.tell(trip("another"), news("booked"))
    for kind, supplier in (
        ("boat", None),
        ("ferry", "ferrys.example"),
        ("horse", "ferrys.example"),
    ):
        for trip_id in ("trip", "another"):
            await record.reservations.reserve(trip(trip_id), KINDS[0])
        sold = sa.update(reservations).where(reservations.c.kind == KINDS[0])
        execute(record, sold.values(kind=kind, supplier=supplier))
    left = "The ferry and the horse may still be held: there is no such step any more"
    for _ in range(2):
        assert await record.trips.tell(trip(), news(status, 5, "No room")) == left
        row = await trip_in(record)
        assert (row.status, row.reason) == ("needs_attention", left)
        assert (row.closed_at, row.told_at) == (later(5), later(5))
    states = {each.kind: each.state for each in await record.reservations.of("trip")}
    assert states == {"boat": "cancelled", "ferry": "reserved", "horse": "reserved"}
    assert {each.state for each in await record.reservations.of("another")} == {"reserved"}


async def test_later_news_wins_and_late_news_is_passed_over(record: Record) -> None:
    await record.trips.tell(trip(), news("booked", 2))
    with unchanged(record):
        await record.trips.tell(trip(), news("cancelled", 1))
    await record.trips.tell(trip(), news("cancelled", 3))
    row = await trip_in(record)
    assert (row.status, row.closed_at) == ("cancelled", later(3))
    with unchanged(record):
        await record.trips.tell(trip(), news("booked", 2))


async def test_telling_again_changes_nothing(record: Record) -> None:
    await record.trips.tell(trip(), news("booked", 5))
    with unchanged(record):
        await record.trips.tell(trip(), news("booked", 5))
        await record.trips.tell(trip(), news("needs_attention", 5))


@pytest.mark.parametrize("ending", OVER)
async def test_an_ending_without_reservations_never_changes(
    record: Record, ending: TripStatus
) -> None:
    await record.trips.tell(trip(), news(ending, 5, "No room"))
    with unchanged(record):
        await record.trips.tell(trip(), news("booked", 6))
        await record.trips.tell(trip(), news("needs_attention", 7))
        row = await record.trips.begin_cancellation("trip")
        assert row.status == ending
        await record.trips.found(row, "needs_attention", "Stopped")
        await record.trips.accept(accepted(owner="thief", first_run_id="another-run"))


async def test_news_from_many_processes_at_once_end_with_the_latest(
    pair: tuple[Record, Record],
) -> None:
    told: list[TripStatus] = ["needs_attention", "running", "needs_attention", "booked"]
    for number in range(10):
        own = trip(f"trip-{number}")
        await asyncio.gather(
            *(
                record.trips.tell(own, news(status, after))
                for record in pair
                for after, status in reversed(list(enumerate(told)))
            )
        )
        row = await pair[0].trips.by_id(f"trip-{number}")
        assert row is not None and row.status == "booked"


# Finding out what was not told


async def test_what_was_found_is_written_into_an_open_trip(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    before = dt.datetime.now(dt.UTC)
    found = await record.trips.found(row, "needs_attention", "Stopped")
    assert found.closed_at is not None and before <= found.closed_at <= dt.datetime.now(dt.UTC)
    assert found == accepted(
        status="needs_attention",
        reason="Stopped",
        closed_at=found.closed_at,
    )
    assert await record.trips.by_id("trip") == found


async def test_what_was_found_does_not_change_a_trip_that_is_over(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    await record.trips.tell(trip(), news("booked"))
    with unchanged(record):
        assert (await record.trips.found(row, "needs_attention", "Stopped")).status == "booked"


async def test_what_was_found_of_a_trips_workflow_does_not_end_its_cancellation(
    record: Record,
) -> None:
    row, _ = await record.trips.accept(accepted())
    await record.trips.tell(trip(), news("booked"))
    cancelling = await record.trips.begin_cancellation("trip")
    assert await record.trips.found(row, "booked", None) == cancelling
    ended = await record.trips.found(cancelling, "needs_attention", "Stopped")
    assert (ended.status, ended.cancelled_at) == ("needs_attention", cancelling.cancelled_at)


async def test_news_that_come_after_a_finding_win(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    await record.reservations.reserve(trip(), "car")
    await record.trips.found(row, "needs_attention", "Stopped")
    await record.trips.tell(trip(), news("booked", 5))
    assert await status_of(record) == "booked"


@pytest.mark.parametrize("ending", OVER)
async def test_a_trip_that_nobody_has_claimed_may_end_so(
    record: Record, ending: TripStatus
) -> None:
    row, _ = await record.trips.accept(accepted())
    ended = await record.trips.found(row, ending, "Nobody started it")
    assert (ended.status, ended.reason) == (ending, "Nobody started it")
    assert ended.closed_at is not None
    assert await record.trips.by_id("trip") == ended


async def test_a_trip_that_was_claimed_meanwhile_does_not_end_so(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    await record.reservations.reserve(trip(), "car")
    assert (await record.trips.found(row, "cancelled", "Nobody started it")).status == "running"


# Cancelling what is over


@pytest.mark.parametrize("ending", ["booked", "needs_attention"])
async def test_the_cancellation_of_a_trip_that_is_over_begins_once(
    record: Record, ending: TripStatus
) -> None:
    await record.reservations.reserve(trip(), "car")
    row, _ = await record.trips.accept(accepted())
    await record.trips.found(row, ending, "Stopped")
    begun = await record.trips.begin_cancellation("trip")
    assert (begun.status, begun.reason, begun.closed_at) == ("running", None, None)
    assert begun.cancelled_at is not None
    assert await record.trips.begin_cancellation("trip") == begun
    await record.trips.tell(trip(), news("cancelled", 5, "On request"))
    ended = await trip_in(record)
    assert (ended.status, ended.cancelled_at) == ("cancelled", begun.cancelled_at)


async def test_a_cancellation_that_was_stopped_begins_again(record: Record) -> None:
    await record.trips.accept(accepted(status="booked", closed_at=NOON))
    first = await record.trips.begin_cancellation("trip")
    await record.trips.found(first, "needs_attention", "Stopped")
    second = await record.trips.begin_cancellation("trip")
    assert second.status == "running"
    assert second.cancelled_at is not None and first.cancelled_at is not None
    assert second.cancelled_at > first.cancelled_at


async def test_a_running_trip_is_none_whose_cancellation_begins_here(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    assert await record.trips.begin_cancellation("trip") == row


# What cannot be asked


async def test_a_missing_table_is_a_bug_and_no_error_has_what_was_to_be_written(
    database_url: str,
) -> None:
    async with Record.open(database_url) as record:
        await record.database.prepare()
        execute(database_url, "DROP TABLE trips")
        with pytest.raises(RecordBroken, match=r"\AThe record refuses the request\Z") as raised:
            await record.trips.accept(
                accepted(request={"name": "Ada Lovelace"}, key_fingerprint=None)
            )
    told = "".join(traceback.format_exception(raised.value))
    assert "INSERT INTO trips" in told
    assert "Lovelace" not in told


async def test_a_trip_that_is_not_there_is_a_bug_and_not_an_outage(record: Record) -> None:
    with pytest.raises(RecordBroken):
        await record.trips.begin_cancellation("trip")


async def test_a_text_that_no_database_can_keep_hinders_no_trip(record: Record) -> None:
    for odd in ("nul\0", "half \ud800 a character"):
        named = trip(odd, name=odd, owner=odd, book_car_id=odd)
        for kind in KINDS:
            await record.reservations.reserve(named, kind)
        await record.trips.tell(named, news(reason=odd))
        row = await trip_in(record, odd)
        assert (row.status, row.request["name"]) == ("booked", odd)
        assert {each.state for each in await record.reservations.of(odd)} == {"reserved"}


async def test_that_it_was_booked_stays_when_it_is_cancelled(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    await record.trips.tell(trip(), news("booked", 5))
    await record.trips.begin_cancellation("trip")
    await record.trips.tell(trip(), news("cancelled", 60))
    row = await trip_in(record)
    assert (row.status, row.booked_at, row.closed_at) == ("cancelled", later(5), later(60))
