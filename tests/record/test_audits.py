"""What the record keeps for the audits: where each begins, what it compares, what it marks."""

import dataclasses
import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from record import Audit, Record, RecordedTrip
from record import audits as record_audits
from record import database as record_database
from record.tables import audits
from tests.record.databases import execute
from tests.record.trips import NOON, accepted, later, news, trip, trip_in

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def of(trip_id: str, **changes: Any) -> RecordedTrip:
    """A trip that was booked at noon, changed as told."""
    ended: dict[str, Any] = {"status": "booked", "closed_at": NOON, "first_run_id": "first-run"}
    return accepted(trip_id, **ended | changes)


async def ids_of_ended(record: Record, since: dt.datetime | None, limit: int = 2) -> list[str]:
    """Page through the trips that have ended since then, and before ten seconds past noon."""
    found: list[str] = []
    after = None
    while rows := await record.audits.ended_trips(since, later(10), after, limit):
        found += [row.trip_id for row in rows]
        after = rows[-1]
    return found


async def begin(record: Record, *, everything: bool = False) -> Audit:
    return await record.audits.begin(HOUR, DAY, everything=everything)


async def test_an_audit_goes_on_from_where_the_last_one_that_ended_began(record: Record) -> None:
    first = await begin(record)
    assert first.since == first.began_at - DAY
    broken_off = await begin(record)
    assert broken_off.since == broken_off.began_at - DAY
    await record.audits.end(first.audit_id, 3, 1, {"not_held": 1})
    second = await begin(record)
    assert second.since == first.began_at - HOUR
    assert (await begin(record, everything=True)).since is None
    last = await record.audits.last()
    assert last is not None
    assert (last.audit_id, last.trips, last.not_compared) == (first.audit_id, 3, 1)
    assert last.differences == {"not_held": 1}


async def test_to_end_an_audit_again_changes_nothing(record: Record) -> None:
    assert await record.audits.last() is None
    begun = await begin(record)
    await record.audits.end(begun.audit_id, 1, 0, {})
    ended = await record.audits.last()
    await record.audits.end(begun.audit_id, 2, 2, {"not_held": 2})
    assert await record.audits.last() == ended


async def test_an_audit_is_due_so_long_after_the_last_one_has_begun(record: Record) -> None:
    first = await record.audits.begin_if_due(HOUR, DAY, every=HOUR)
    assert first is not None
    assert first.since == first.began_at - DAY
    assert await record.audits.begin_if_due(HOUR, DAY, every=HOUR) is None
    execute(record, sa.update(audits).values(began_at=first.began_at - HOUR))
    second = await record.audits.begin_if_due(HOUR, DAY, every=HOUR)
    assert second is not None and second.audit_id != first.audit_id


async def test_what_lies_in_the_future_is_no_mark(record: Record) -> None:
    """The clock was a day ahead, and has been put right."""
    first = await begin(record)
    await record.audits.end(first.audit_id, 0, 0, {})
    ahead = await begin(record)
    await record.audits.end(ahead.audit_id, 0, 0, {})
    is_ahead = audits.c.audit_id == ahead.audit_id
    tomorrow = {"began_at": ahead.began_at + DAY, "ended_at": ahead.began_at + DAY}
    execute(record, sa.update(audits).where(is_ahead).values(tomorrow))
    due = await record.audits.begin_if_due(HOUR, DAY, every=dt.timedelta())
    assert due is not None and due.since == first.began_at - HOUR
    # Nor will it be one tomorrow.
    last = await record.audits.last()
    assert last is not None and last.audit_id == first.audit_id


async def test_an_audit_begins_by_the_databases_clock(
    record: Record, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers' clocks may differ. SQLite has none but this host's."""
    now = dt.datetime.now(dt.UTC)
    ahead = SimpleNamespace(now=lambda _zone: now + DAY)
    for module in (record_audits, record_database):
        monkeypatch.setattr(module, "dt", SimpleNamespace(datetime=ahead, UTC=dt.UTC))
    begun = await begin(record)
    assert (begun.began_at < now + HOUR) == (database_kind == "postgresql")


async def test_the_trips_that_ended_then_come_page_by_page_each_once(record: Record) -> None:
    for number in range(5):
        await record.trips.accept(of(f"at-once-{number}"))
    await record.trips.accept(of("before", closed_at=later(-1)))
    await record.trips.accept(of("after", closed_at=later(11)))
    await record.trips.accept(of("open", status="running", closed_at=None))
    await record.trips.accept(of("stopped", status="needs_attention"))
    assert await ids_of_ended(record, NOON) == [f"at-once-{number}" for number in range(5)]
    assert await ids_of_ended(record, None) == ["before", *await ids_of_ended(record, NOON)]


async def test_what_is_left_is_kept_until_it_is_compared(record: Record) -> None:
    for trip_id in ("a", "b", "c"):
        await record.trips.accept(of(trip_id))
    await record.audits.note_audited([], ["a", "b", "c"])
    await record.audits.note_audited(["b"], ["a"])
    first = await record.audits.unaudited_trips(later(1), "", 1)
    assert [row.trip_id for row in first] == ["a"]
    assert [row.trip_id for row in await record.audits.unaudited_trips(later(1), "a", 9)] == ["c"]
    assert await record.audits.unaudited_trips(NOON, "", 9) == [], "Another page has them"
    await record.audits.note_audited(["a", "c"], [])
    assert await record.audits.unaudited_trips(later(1), "", 9) == []


async def test_a_trip_is_marked_with_a_reason(record: Record) -> None:
    row, _ = await record.trips.accept(of("trip", booked_at=NOON))
    assert await record.trips.mark(row, "Nothing is held")
    marked = dataclasses.replace(row, status="needs_attention", reason="Nothing is held")
    assert await record.trips.by_id("trip") == marked
    again = await record.trips.begin_cancellation("trip")
    assert again.status == "running", "It can be cancelled"


async def test_a_trip_that_has_changed_meanwhile_or_is_open_is_not_marked(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    assert not await record.trips.mark(row, "It is open")
    await record.trips.tell(trip(), news("booked", 5))
    assert not await record.trips.mark(row, "It was open")
    booked = await trip_in(record)
    await record.trips.begin_cancellation("trip")
    assert not await record.trips.mark(booked, "It was booked")
    now = await trip_in(record)
    assert (now.status, now.reason) == ("running", None)
