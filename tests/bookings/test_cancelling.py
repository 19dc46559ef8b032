"""A cancel undoes a trip, running or booked and of any age. Once accepted it is not forgotten."""

import asyncio

import pytest
from temporalio.client import Client

from bookings import BookingConflict, Bookings, TemporalUnavailable, acting_workflow
from connection import lazy_client
from record import Record, RecordedTrip
from shared import CANCELLED, KINDS, TASK_QUEUE_NAME, cancellation_id
from tests.bookings.requests import (
    DESK,
    JOHN,
    SHOP,
    UNASKED,
    begin,
    ended,
    half_way,
    held,
    new_id,
    new_trip,
    planted,
    states,
    stuck,
)
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate, refuse_for_good
from tests.trips import result_of, start
from tests.workers import running_worker


async def nothing_is_held(record: Record, user_id: str) -> bool:
    """Tell whether each step of a trip has a tombstone."""
    rows = await record.reservations.of(user_id)
    return [row.state for row in rows] == ["cancelled"] * len(KINDS)


# Running


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_running_trip_is_undone(
    asked: Bookings, faults: FaultyRecord, seconds: float
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate, "hotel")
    cancelled = await asked.cancel(user_id, SHOP, seconds)
    await gate.open()
    cancelled = cancelled if seconds else await ended(asked, user_id)
    assert (cancelled.status, cancelled.reason) == ("cancelled", CANCELLED)
    assert held(cancelled) == []
    assert await asked.cancel(user_id, SHOP, 60) == cancelled
    rows = {row.kind: row.state for row in await faults.reservations.of(user_id)}
    assert rows == {"car": "cancelled", "hotel": "cancelled"}


async def test_a_trip_that_was_booked_before_the_order_reached_it_is_undone(
    asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    order = asked._workflows.cancel

    async def booked_first(row: RecordedTrip) -> bool:
        await gate.open()
        assert (await ended(asked, user_id)).status == "booked"
        return await order(row)

    monkeypatch.setattr(asked._workflows, "cancel", booked_first)
    assert (await asked.cancel(user_id, SHOP, 60)).status == "cancelled"
    assert await nothing_is_held(faults, user_id)


async def test_without_a_worker_a_cancel_is_accepted(
    asked: Bookings, client: Client, record: Record
) -> None:
    user_id = await begin(asked)
    running = await asked.cancel(user_id, SHOP, 0.1)
    assert (running.status, running.closed_at) == ("running", None)
    async with running_worker(client, record):
        assert (await ended(asked, user_id)).status == "cancelled"


async def test_a_trip_that_was_never_started_never_will_be(asked: Bookings, record: Record) -> None:
    row, _ = await record.trips.accept(new_trip(new_id(), key_fingerprint="of a key"))
    cancelled = await asked.cancel(row.trip_id, SHOP, 60)
    assert (cancelled.status, cancelled.reason) == ("cancelled", CANCELLED)
    assert cancelled.closed_at is not None


async def test_a_cancel_of_a_stuck_trip_leaves_it_to_the_operator(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await stuck(asked, faults)
    assert (await asked.cancel(user_id, SHOP, 60)).status == "needs_attention"
    await asked.repair(user_id, "hotel", DESK, "Cancelled by phone")
    others = ["undone"] * len(KINDS[2:])
    assert states(await ended(asked, user_id)) == ["undone", "resolved", *others]


# Booked


async def test_a_booked_trip_is_undone_once_however_often_it_is_asked(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    answers = await asyncio.gather(*(asked.cancel(user_id, SHOP, 60) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    cancelled = answers[0]
    assert (cancelled.status, cancelled.booked_at is not None) == ("cancelled", True)
    assert acting_workflow(cancelled) == cancellation_id(user_id)
    unasked = Bookings(UNASKED, faults, IMPATIENT)
    assert await unasked.look_up(user_id, SHOP) == await unasked.cancel(user_id, SHOP, 60)
    assert await unasked.look_up(user_id, SHOP) == cancelled
    assert await nothing_is_held(faults, user_id)
    assert faults.tries("cancel", "hotel") == 1


async def test_a_cancel_that_does_not_wait_is_taken_all_the_same(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    faults.faults["cancel", "flight"] = gate = Gate()
    found = [await asked.cancel(user_id, SHOP, 0) for _ in range(2)]
    assert {(each.status, each.closed_at) for each in found} == {("running", None)}
    assert held(found[0]) == list(KINDS)
    assert {acting_workflow(each) for each in found} == {cancellation_id(user_id)}
    await gate.open()
    assert (await ended(asked, user_id)).status == "cancelled"
    assert await nothing_is_held(faults, user_id)


async def test_a_trip_that_was_rolled_back_cannot_be_cancelled(record: Record) -> None:
    asked = Bookings(UNASKED, record, IMPATIENT)
    user_id = await planted(record, "rolled_back")
    rolled_back = await asked.look_up(user_id, SHOP)
    with pytest.raises(BookingConflict, match="rolled back"):
        await asked.cancel(user_id, SHOP, 60)
    assert await asked.look_up(user_id, SHOP) == rolled_back


# Started by other means


async def test_a_trip_that_the_cli_has_started_is_like_any_other(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    user_id = new_id()
    items = {f"book_{kind}_id": JOHN[kind] for kind in KINDS}
    started = await client.start_workflow(
        "BookingWorkflow",
        {"attempts": 5, "book_user_id": user_id, **items},
        id=f"workflow-of-{user_id}",
        task_queue=TASK_QUEUE_NAME,
    )
    await started.result()
    booked = await asked.look_up(user_id, DESK)
    assert (booked.status, held(booked)) == ("booked", list(KINDS))
    assert (await asked.cancel(user_id, DESK, 60)).status == "cancelled"
    assert await nothing_is_held(faults, user_id)


async def test_whoever_comes_with_a_forgotten_id_leaves_the_old_trip_whole(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    before = await asked.look_up(user_id, SHOP)
    stranger = await start(client, trip(book_user_id=user_id, book_hotel_id="another"))
    assert (await result_of(stranger))["status"] == "failure"
    assert await asked.look_up(user_id, SHOP) == before
    assert {row.state for row in await faults.reservations.of(user_id)} == {"reserved"}
    assert (await asked.cancel(user_id, SHOP, 60)).status == "cancelled"
    assert await nothing_is_held(faults, user_id)


# Ended from outside


async def test_a_trip_that_was_terminated_is_undone(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    await client.get_workflow_handle(user_id).terminate()
    cancelled = await asked.cancel(user_id, SHOP, 60)
    assert (cancelled.status, held(cancelled)) == ("cancelled", [])
    assert await nothing_is_held(faults, user_id)
    await gate.open()


async def test_a_trip_whose_workflow_was_deleted_is_undone(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults, "running")
    cancelled = await asked.cancel(user_id, SHOP, 60)
    assert (cancelled.status, held(cancelled)) == ("cancelled", [])
    assert await nothing_is_held(faults, user_id)


async def test_a_trip_that_was_stopped_before_a_worker_took_it_up_is_undone(
    asked: Bookings, client: Client, record: Record
) -> None:
    user_id = await begin(asked)
    await client.get_workflow_handle(user_id).terminate()
    async with running_worker(client, record):
        assert (await asked.cancel(user_id, SHOP, 60)).status == "cancelled"
    assert await nothing_is_held(record, user_id)


async def test_a_cancellation_that_was_stopped_from_outside_is_begun_again(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    faults.faults["cancel", "hotel"] = refuse_for_good
    assert (await asked.cancel(user_id, SHOP, 60)).status == "needs_attention"
    await client.get_workflow_handle(cancellation_id(user_id)).terminate()
    faults.faults.clear()
    assert "hotel" in held(await asked.look_up(user_id, SHOP))
    await asked.cancel(user_id, SHOP, 60)
    assert held(await ended(asked, user_id)) == []
    assert await nothing_is_held(faults, user_id)


# While Temporal is away


async def test_what_is_cancelled_while_temporal_is_away_stays_if_it_runs_and_is_undone_if_booked(
    asked: Bookings, faults: FaultyRecord
) -> None:
    cut_off = Bookings(await lazy_client({"target_host": "localhost:1"}), faults, IMPATIENT)
    running, booked = await planted(faults, "running"), await planted(faults)
    before = await asked.look_up(running, SHOP)
    for user_id in (running, booked):
        with pytest.raises(TemporalUnavailable):
            await cut_off.cancel(user_id, SHOP, 60)
    assert await asked.look_up(running, SHOP) == before
    assert (await asked.cancel(booked, SHOP, 60)).status == "cancelled"
    assert await nothing_is_held(faults, booked)
