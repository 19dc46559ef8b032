"""Events: each change of a status once, in an order in which whoever reads on misses none."""

import asyncio
import datetime as dt
import re
from typing import Any

import pytest
import sqlalchemy as sa

from record import Event, Events, Record, promises_now
from record import events as under_test
from record.tables import events, trips
from shared import TripStatus
from tests.processes import ROOT
from tests.record.conftest import Pair
from tests.record.databases import execute, on_postgresql, transaction, url_of
from tests.record.trips import accepted, news, trip, trip_in
from tests.trips import eventually


async def booked(record: Record, trip_id: str = "trip", owner: str = "shop") -> None:
    await record.trips.accept(accepted(trip_id, owner=owner))
    await record.reservations.reserve(trip(trip_id), "car")
    await record.trips.tell(trip(trip_id), news("booked"))


async def told(record: Record, after: int = 0) -> list[Event]:
    await record.events.number(deliver=False)
    return await record.events.after(after, 100)


async def statuses(record: Record) -> list[tuple[int, TripStatus]]:
    return [(each.sequence, each.status) for each in await told(record)]


async def due(record: Record, count: int = 1) -> list[str]:
    """Return the ids of events that are to be delivered."""
    for number in range(count):
        await booked(record, f"trip-{number}")
    ids = await record.events.number(deliver=True)
    assert len(ids) == count
    return ids


def put_back(record: Record, column: str, seconds: float) -> None:
    """Have a time of all events lie further in the past."""
    with transaction(record) as connection:
        for row in connection.execute(sa.select(events.c.event_id, events.c[column])).all():
            at = row[1] - dt.timedelta(seconds=seconds)
            which = sa.update(events).where(events.c.event_id == row.event_id)
            connection.execute(which.values({column: at}))


async def test_an_event_tells_of_a_status_once(record: Record) -> None:
    await booked(record)
    await record.trips.tell(trip(), news("booked", 1))
    await record.trips.begin_cancellation("trip", "shop")
    cancelling = trip()
    await record.reservations.give_up_undo(cancelling, "car", "The line is dead")
    await record.reservations.give_up_undo(cancelling, "car", "The line is dead")
    await record.trips.tell(cancelling, news("cancelled", 5))
    assert await statuses(record) == [(1, "booked"), (2, "needs_attention"), (3, "cancelled")]
    first = (await told(record))[0]
    assert (first.trip_id, first.owner, first.position) == ("trip", "shop", 1)
    assert (first.delivery, first.failures, first.due_at) == (None, 0, None)
    assert first.event_id.startswith("evt_")
    assert first.at.tzinfo is not None


async def test_what_an_audit_writes_is_told_too(record: Record) -> None:
    row, _ = await record.trips.accept(accepted())
    row = await record.trips.found(row, "booked", None)
    assert await record.trips.mark(row, "The hotel holds nothing")
    assert not await record.trips.mark(row, "It has changed meanwhile")
    await record.trips.take_mark_back(await trip_in(record), "booked", None)
    assert await statuses(record) == [(1, "booked"), (2, "needs_attention"), (3, "booked")]


async def test_a_status_that_is_refused_is_no_event(record: Record) -> None:
    await booked(record)
    await record.trips.tell(trip(run="another-run"), news("rolled_back", 9))
    await record.trips.tell(trip(), news("rolled_back", -1))
    assert await statuses(record) == [(1, "booked")]


async def test_a_transaction_that_is_rolled_back_leaves_no_event(record: Record) -> None:
    await record.trips.accept(accepted())
    with pytest.raises(ZeroDivisionError), transaction(record) as connection:
        connection.execute(sa.update(trips).values(status="booked"))
        under_test.add_event(connection, "trip")
        raise ZeroDivisionError
    assert await statuses(record) == []


async def test_events_are_read_oldest_first_by_pages_and_by_owner(record: Record) -> None:
    for number in range(5):
        await booked(record, f"trip-{number}", "shop" if number % 2 else "desk")
    assert await record.events.after(0, 100) == [], "they have no place yet"
    every = await told(record)
    assert [each.position for each in every] == [1, 2, 3, 4, 5]
    assert await record.events.after(0, 2) + await record.events.after(2, 9) == every
    assert await record.events.after(0, 9, "shop") == [
        each for each in every if each.owner == "shop"
    ]
    assert await record.events.after(5, 9) == []


@on_postgresql
async def test_an_event_that_is_committed_late_is_not_skipped(record: Record) -> None:
    for trip_id in ("early", "late"):
        await record.trips.accept(accepted(trip_id))
    with transaction(record) as slow:
        slow.execute(sa.update(trips).where(trips.c.trip_id == "early").values(status="booked"))
        under_test.add_event(slow, "early")
        row = await trip_in(record, "late")
        await record.trips.found(row, "booked", None)
        seen = await told(record)
        assert [each.trip_id for each in seen] == ["late"]
    (after,) = await told(record, after=seen[-1].position or 0)
    assert after.trip_id == "early"
    assert after.at < seen[0].at


async def test_those_who_number_at_once_give_each_event_one_place(pair: Pair) -> None:
    for number in range(20):
        await booked(pair[0], f"trip-{number}")
    numbered = await asyncio.gather(*(each.events.number(deliver=True) for each in pair * 3))
    ids = [event_id for some in numbered for event_id in some]
    assert len(ids) == len(set(ids)) == 20
    assert [each.position for each in await pair[1].events.after(0, 100)] == list(range(1, 21))


@on_postgresql
async def test_who_numbers_waits_until_the_numbers_before_are_seen(record: Record) -> None:
    for trip_id in ("early", "late"):
        await record.trips.accept(accepted(trip_id))

    def number(sql: sa.Connection) -> None:
        Events._number.__wrapped__(record.events, sql, deliver=False)  # type: ignore[attr-defined]

    def number_in_turn() -> None:
        with transaction(url_of(record)) as connection:
            number(connection)

    with transaction(record) as first:
        with transaction(record) as slow:
            slow.execute(sa.update(trips).where(trips.c.trip_id == "early").values(status="booked"))
            under_test.add_event(slow, "early")
            await record.trips.found(await trip_in(record, "late"), "booked", None)
            number(first)
        second = asyncio.create_task(asyncio.to_thread(number_in_turn))
        await eventually(lambda: somebody_waits_for_a_lock(record))
    await second
    assert [each.trip_id for each in await told(record)] == ["late", "early"]


async def somebody_waits_for_a_lock(record: Record) -> bool:
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with transaction(record) as connection:
        return bool(connection.scalar(waits))


async def test_events_go_with_their_trips_to_another_owner(record: Record) -> None:
    await booked(record)
    await record.trips.accept(accepted("running"))
    await record.owners.hand_over("shop", "store")
    assert [each.owner for each in await told(record)] == ["store"]
    await record.trips.tell(trip("running"), news("booked"))
    assert [each.owner for each in await told(record)] == ["store", "store"]


async def test_switched_on_it_delivers_no_past(record: Record) -> None:
    await booked(record, "before")
    await record.events.number(deliver=False)
    assert len(await due(record)) == 1
    assert [each.delivery for each in await told(record)] == [None, "due"]


async def test_a_delivery_from_begin_to_end(record: Record) -> None:
    (event_id,) = await due(record)
    assert await record.events.left_over(3_600) == []
    assert [each.event_id for each in await record.events.left_over(-1)] == [event_id]
    await record.events.note_begun([event_id])
    assert await record.events.left_over(-1) == []
    found = await record.events.to_deliver(event_id)
    assert found and found[0].event_id == event_id and found[1].tzinfo is not None
    assert [each.event_id for each in await record.events.undelivered(9)] == [event_id]
    assert await record.events.undelivered(9, 3_600) == []
    await record.events.note_delivered(event_id)
    await record.events.note_begun([event_id])
    assert await record.events.to_deliver(event_id) is None
    assert await record.events.undelivered(9) == []


async def test_what_is_undelivered_is_read_page_by_page(record: Record) -> None:
    ids = await due(record, 5)  # At one time, of which two pages have a part.
    found: list[Event] = []
    while page := await record.events.undelivered(2, after=found[-1] if found else None):
        found += page
    assert sorted(each.event_id for each in found) == sorted(ids)


async def test_an_event_that_nobody_waits_for_is_not_sent(record: Record) -> None:
    await booked(record)
    (event,) = await told(record)
    assert await record.events.to_deliver(event.event_id) is None
    assert await record.events.to_deliver("evt_unknown") is None


async def test_failures_are_counted_and_the_last_one_told(record: Record) -> None:
    (event_id,) = await due(record)
    for number in (1, 2):
        assert (
            await record.events.note_failure(event_id, f"It answered 50{number}", gone=False)
            == number
        )
    found = await record.events.to_deliver(event_id)
    assert found and (found[0].failures, found[0].last_error) == (2, "It answered 502")


async def test_a_receiver_that_does_not_want_an_event_is_not_asked_again(record: Record) -> None:
    (event_id,) = await due(record)
    assert await record.events.note_failure(event_id, "It answered 410", gone=True) is None
    assert await record.events.to_deliver(event_id) is None
    assert await record.events.undelivered(9) == []


async def test_after_three_days_a_delivery_is_given_up_and_can_be_begun_again(
    record: Record,
) -> None:
    (event_id,) = await due(record)
    assert await record.events.note_failure(event_id, "It answered 500", gone=False) == 1
    put_back(record, "due_at", 3 * 86_400 + 1)
    assert await record.events.note_failure(event_id, "It answered 500", gone=False) is None
    assert await record.events.to_deliver(event_id) is None
    (lost,) = await record.events.undelivered(9)
    assert lost.delivery == "given_up"
    again = await record.events.deliver_again(event_id)
    assert again and (again.delivery, again.failures, again.last_error) == ("again", 0, None)
    assert [each.event_id for each in await record.events.left_over(3_600)] == [event_id]


async def test_what_there_was_nobody_to_deliver_to_is_not_sent_later(record: Record) -> None:
    await booked(record)
    assert await record.events.deliver_again("evt_unknown") is None
    (untold,) = [each.event_id for each in await told(record)]
    event = await record.events.deliver_again(untold)
    assert event and (event.delivery, event.due_at) == (None, None)
    assert await record.events.left_over(-1) == []


async def test_the_statements_of_the_docs_write_events_off(record: Record) -> None:
    docs = (ROOT / "docs" / "operations.md").read_text()
    given_up, all_of_them = re.findall(r"^(UPDATE events .*);$", docs, re.M)
    lost, waiting = await due(record, 2)
    put_back(record, "due_at", 4 * 86_400)
    await record.events.note_failure(lost, "It answered 500", gone=False)
    execute(record, given_up)
    assert [each.event_id for each in await record.events.undelivered(9)] == [waiting]
    execute(record, all_of_them)
    assert await record.events.undelivered(9) == []
    assert await record.events.to_deliver(waiting) is None


async def test_a_receiver_that_answers_again_is_told_at_once_what_has_failed(
    record: Record,
) -> None:
    failed, asked_to_wait, untried = await due(record, 3)
    await record.events.note_begun([failed, asked_to_wait, untried])
    await record.events.note_failure(failed, "It answered 500", gone=False)
    await record.events.note_failure(asked_to_wait, "It answered 429", 3_600, gone=False)
    assert await record.events.bring_forward() == 1
    assert [each.event_id for each in await record.events.left_over(3_600)] == [failed]
    await record.events.note_begun([failed])
    assert await record.events.bring_forward() == 0, "its try is under way"
    await record.events.note_failure(failed, "It answered 500", gone=False)
    assert await record.events.bring_forward() == 1


async def test_the_promises_tell_what_is_undelivered(record: Record) -> None:
    ids = await due(record, 3)
    put_back(record, "due_at", 4 * 86_400)
    await record.events.note_failure(ids[0], "It answered 500", gone=False)
    await record.events.note_delivered(ids[1])
    told: dict[str, Any] = await promises_now(record.database, dt.timedelta(hours=1))
    assert told["events_undelivered"] == {"waiting": 1, "given_up": 1}
    assert told["event_undelivered_oldest_age_seconds"] > 4 * 86_400 - 1
