"""What the record tells of promises that wait to be kept, on both databases."""

import datetime as dt
import re
from typing import Any

import pytest
import sqlalchemy as sa

from record import Record, promises_now
from record.database import POSTGRESQL_CONNECTIONS, SQLITE_READERS, Connections
from record.promises import _LATE, _OPEN_TRIPS, _STUCK, _UNKNOWN
from record.tables import reservations, trips
from record.trips import _COLUMNS
from shared import KINDS
from tests.record.databases import execute, transaction
from tests.record.trips import NOON, accepted, news, trip

HOUR = dt.timedelta(hours=1)

NOW = dt.datetime.now(dt.UTC)


async def asked(record: Record) -> dict[str, Any]:
    return await promises_now(record.database, HOUR)


async def test_of_an_empty_record_nothing_is_open(record: Record) -> None:
    found = await asked(record)
    assert found.pop("trips_open") == {"running": 0, "held": 0, "needs_attention": 0}
    assert found == {
        "trips_past_deadline": 0,
        "undos_stuck": 0,
        "undo_stuck_oldest_age_seconds": 0.0,
        "outcomes_unknown": 0,
        "outcome_unknown_oldest_age_seconds": 0.0,
        "events_undelivered": {"waiting": 0, "given_up": 0},
        "event_undelivered_oldest_age_seconds": 0.0,
    }


async def test_open_trips_are_counted_by_their_status(record: Record) -> None:
    for number in range(6):
        await record.trips.accept(accepted(str(number), accepted_at=NOW))
    await record.trips.tell(trip("0"), news("booked"))
    await record.trips.tell(trip("1"), news("rolled_back"))
    await record.trips.tell(trip("2"), news("cancelled"))
    await record.trips.tell(trip("3"), news("needs_attention"))
    assert (await asked(record))["trips_open"] == {"running": 2, "held": 0, "needs_attention": 1}


async def test_a_trip_that_was_stopped_from_outside_stays_open(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    await record.trips.found(row, "needs_attention", "It was terminated")
    found = await asked(record)
    assert found["trips_open"]["needs_attention"] == 1
    assert (found["undos_stuck"], found["trips_past_deadline"]) == (0, 0)


async def test_a_trip_that_runs_for_too_long_is_past_its_deadline(record: Record) -> None:
    late, young = NOW - HOUR, NOW
    for trip_id, at in (("late", late), ("young", young), ("booked", late), ("cancelling", late)):
        await record.trips.accept(accepted(trip_id, accepted_at=at))
    for trip_id in ("booked", "cancelling"):
        await record.trips.tell(trip(trip_id), news("booked"))
    await record.trips.begin_cancellation("cancelling")  # Just now: it has an hour of its own.
    assert (await asked(record))["trips_past_deadline"] == 1


async def test_each_stuck_undo_counts_until_it_is_settled(record: Record) -> None:
    for trip_id in ("one", "two"):
        for kind in KINDS:
            await record.reservations.reserve(trip(trip_id), kind)
    await record.reservations.give_up_undo(trip("one"), "hotel", "No refund")
    for kind in KINDS:
        await record.reservations.give_up_undo(trip("two"), kind, "No refund")
    old = NOW - 3 * HOUR
    execute(record, sa.update(reservations).values(updated_at=old))

    found = await asked(record)
    assert found["undos_stuck"] == 1 + len(KINDS)
    age = (dt.datetime.now(dt.UTC) - old).total_seconds()
    assert found["undo_stuck_oldest_age_seconds"] == pytest.approx(age, abs=10)

    await record.reservations.resolve(trip("two"), "car", "By telephone")
    await record.reservations.cancel(trip("two"), "hotel")  # A retry has succeeded.
    for kind in KINDS[2:]:
        await record.outside.begin_cancel(trip("two"), kind)  # A retry is under way.
    found = await asked(record)
    assert found["undos_stuck"] == 1
    assert found["undo_stuck_oldest_age_seconds"] >= age


async def test_an_outcome_is_unknown_once_no_call_is_under_way(record: Record) -> None:
    before, later = NOW - HOUR, NOW + HOUR
    await record.outside.begin_try(trip("under-way"), "hotel", "hotels.example", later)
    await record.outside.begin_try(trip("lost"), "hotel", "hotels.example", before)
    await record.outside.begin_try(trip("nothing-sent"), "hotel", "hotels.example", before)
    await record.outside.end_try(trip("nothing-sent"), "hotel", before, None)
    await record.outside.begin_try(trip("pending"), "hotel", "hotels.example", later)
    await record.outside.note_pending(trip("pending"), "hotel")
    await record.outside.begin_try(trip("booked"), "hotel", "hotels.example", before)
    await record.outside.confirm(trip("booked"), "hotel", "H-1", before)
    await record.outside.begin_try(trip("undone"), "hotel", "hotels.example", before)
    await record.outside.begin_cancel(trip("undone"), "hotel")

    found = await asked(record)
    assert found["outcomes_unknown"] == 2
    rows = {
        row.trip_id: row.updated_at
        for row in await record.reservations.everything()
        if row.trip_id in ("lost", "pending")
    }
    since = min(at for at in rows.values() if at)
    age = (dt.datetime.now(dt.UTC) - since).total_seconds()
    assert 0 < found["outcome_unknown_oldest_age_seconds"] <= age


QUESTIONS: list[sa.Select[*tuple[Any, ...]]] = [_OPEN_TRIPS, _LATE, _STUCK, _UNKNOWN]


async def test_no_question_reads_what_is_over(record: Record) -> None:
    """With a thousand times as many trips that are over it would take a thousand times as long."""
    over = [str(number) for number in range(300)]
    then = {"created_at": NOON, "updated_at": NOON}
    with transaction(record) as connection:
        connection.execute(
            sa.insert(trips),
            [
                {name: getattr(row, name) for name in _COLUMNS}
                for row in (accepted(trip_id, status="booked", closed_at=NOON) for trip_id in over)
            ],
        )
        connection.execute(
            sa.insert(reservations),
            [
                {"trip_id": trip_id, "kind": kind, "item": "x", "state": "reserved", **then}
                for trip_id in over
                for kind in KINDS
            ],
        )
        for question in QUESTIONS:
            plan = plan_of(connection, question.params(now=NOW, accepted_before=NOW))
            read_whole = [step for step in plan if re.search(r"^SCAN \w+$|Seq Scan", step)]
            assert not read_whole, f"{question}: {plan}"


def plan_of(connection: sa.Connection, question: sa.Select[*tuple[Any, ...]]) -> list[str]:
    """Return how the database would answer what it is really asked, step by step."""
    on_sqlite = connection.dialect.name == "sqlite"
    if not on_sqlite:
        connection.exec_driver_sql("ANALYZE")  # It does so by itself, after a minute.
    explain = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"

    def explained(_: Any, __: Any, sql: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return f"{explain} {sql}", parameters

    sa.event.listen(connection, "before_cursor_execute", explained, retval=True)
    steps = connection.execute(question).cursor.fetchall()
    sa.event.remove(connection, "before_cursor_execute", explained)
    return [str(step[-1]) for step in steps]


async def test_the_connections_are_told_without_asking_the_database(
    record: Record, database_kind: str
) -> None:
    at_rest = record.database.connections()
    most = POSTGRESQL_CONNECTIONS if database_kind == "postgresql" else 1 + SQLITE_READERS
    assert (at_rest.in_use, at_rest.most) == (0, most)
    assert at_rest.idle >= 1
    assert await record.database.read(lambda _: record.database.connections()) == Connections(
        1, at_rest.idle - 1, most
    )
