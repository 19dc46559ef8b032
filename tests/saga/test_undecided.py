"""Suppliers that are somebody else's, seen through real workflows: undecided, late, refusing, busy.

What a supplier answers is a script; the record, the desks, the worker and Temporal are real.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from temporalio.client import Client

import run_worker
from record import Record
from run_worker import create_workers
from settings import Settings
from shared import KINDS, TASK_QUEUE_NAME, Kind, task_queue_of
from suppliers import OutcomeUnknown, Pending, Refused, Released
from tests.conftest import IMPATIENT, trip
from tests.suppliers.script import NO, QUICK, SURE, UNKNOWN, working_with
from tests.trips import (
    Trip,
    activities_of,
    cancelled,
    events,
    eventually,
    held,
    resolve_undo,
    result_of,
    retry_undo,
    start,
    steps_of,
    until,
    until_failed,
    until_stuck,
)
from tests.workers import work_with


async def test_a_pending_booking_is_asked_for_and_costs_no_try(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(Pending(0.01), Pending(0.01), Pending(0.01), QUICK)
        booking = await start(client, trip(attempts=1))
        assert (await result_of(booking))["status"] == "success"
    hotel = (await steps_of(record, booking))["hotel"]
    assert (hotel.state, hotel.attempts, hotel.reference) == ("booked", 1, "QK7R2M")
    assert hotel.last_error is None
    assert hotels.asked == ["book", "find", "find", "find"]


async def test_tries_that_failed_before_an_undecided_one_are_counted(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(UNKNOWN, None, Pending(0.01), UNKNOWN, Pending(0.01), Released())
        booking = await start(client, trip(attempts=3))
        result = await result_of(booking)
    assert result["message"] == "The supplier has cancelled the hotel"
    assert (await steps_of(record, booking))["hotel"].attempts == 2


async def test_a_booking_that_shows_up_late_is_taken(client: Client, record: Record) -> None:
    async with working_with(client, record, late=60) as hotels:
        hotels.says(UNKNOWN, None, None, QUICK)
        booking = await start(client, trip(attempts=2))
        await result_of(booking)
    hotel = (await steps_of(record, booking))["hotel"]
    assert (hotel.state, hotel.attempts) == ("booked", 2)
    assert hotel.last_error == "The hotel supplier failed"
    assert hotels.asked == ["book", "find", "find", "find"]


async def test_what_stays_undecided_until_the_deadline_is_rolled_back(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:

        async def undecided() -> Pending | Released:
            return SURE if hotels.asked[-1] == "cancel" else Pending(0.2)

        hotels.says(undecided)
        booking = await start(client, trip(policy=replace(IMPATIENT, step_deadline=1.0)))
        result = await result_of(booking)
    assert result["message"] == "The hotel supplier has not decided yet"
    assert await held(record, booking) == []


async def test_a_trip_whose_workers_are_away_past_the_deadline_is_rolled_back(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(Pending(2.5))  # The worker has left by then.
        booking = await start(client, trip(policy=replace(IMPATIENT, step_deadline=3.0)))
        await until_failed(booking, tries=1)
    await eventually(lambda: no_activity(booking))
    async with working_with(client, record) as hotels:
        hotels.says(SURE)
        assert (await result_of(booking))["message"] == "The hotel supplier has not decided yet"
    assert hotels.asked == ["cancel"]


async def no_activity(booking: Trip) -> bool:
    return not (await booking.describe()).raw_description.pending_activities


async def test_a_trip_that_is_cancelled_while_a_supplier_decides_is_undone(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(Pending(3600), SURE)
        booking = await start(client, trip())
        await until_failed(booking, tries=1)
        await booking.cancel()
        await cancelled(booking)
    assert hotels.asked == ["book", "cancel"]
    assert await held(record, booking) == []


async def test_an_undo_that_takes_its_time_delays_no_other_and_leaves_no_late_booking(
    client: Client, record: Record
) -> None:
    async with working_with(client, record, late=60) as hotels:
        hotels.says(UNKNOWN, None)
        booking = await start(client, trip(attempts=1))
        await until(booking, lambda steps: (steps["car"], steps["hotel"]) == ("undone", "undoing"))
        hotels.says(QUICK, SURE)
        result = await result_of(booking)
    assert result["message"] == "The hotel supplier failed"
    hotel = (await steps_of(record, booking))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 1), "To look again is no failure"
    assert hotels.asked[-2:] == ["find", "cancel"]


async def test_an_undo_ends_once_nothing_can_show_up_any_more(
    client: Client, record: Record
) -> None:
    async with working_with(client, record, late=0.2) as hotels:
        hotels.says(UNKNOWN, None)
        policy = replace(IMPATIENT, try_timeout=0.4)
        booking = await start(client, trip(attempts=1, policy=policy))
        await booking.cancel()
        await cancelled(booking)
    assert set(hotels.asked[1:]) <= {"find"}
    assert await held(record, booking) == []


async def test_a_refused_cancellation_is_stuck_at_once_in_the_suppliers_words(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(QUICK, Refused("This fare cannot be refunded"))
        booking = await start(client, trip(book_flight_id="invalid-flight-id"))
        assert (await until_stuck(booking, "hotel"))["car"] == "undone"
        hotel = (await steps_of(record, booking))["hotel"]
        assert (hotel.undo_attempts, hotel.last_error) == (1, "This fare cannot be refunded")
        assert hotels.asked == ["book", "cancel"]
        hotels.says(SURE)
        await retry_undo(booking, "hotel")
        await result_of(booking)


async def test_an_undo_that_was_undecided_and_is_refused_then_needs_attention(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(QUICK, Pending(0.01), QUICK, Refused("Too late to cancel"))
        booking = await start(client, trip(book_flight_id="invalid-flight-id"))
        await until_stuck(booking, "hotel")
        assert await record.trips.not_just_running([booking.id])
        await resolve_undo(booking, "hotel", "settled by telephone")
        await result_of(booking)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kind_with_a_task_queue_of_its_own_is_booked_and_undone_there(
    client: Client, record: Record, kind: Kind
) -> None:
    policy = replace(IMPATIENT, own_queues=(kind,))
    settings = work_with(record)
    async with running_all(client, settings):
        doomed = {f"book_{KINDS[-1]}_id": "invalid-id"}
        booking = await start(client, trip(policy=policy, **doomed))
        await result_of(booking)
    queues = {
        told.activity_type.name: told.task_queue.name
        for event in await events(booking)
        if (told := event.activity_task_scheduled_event_attributes).activity_id
    }
    own = {name for name, queue in queues.items() if queue == task_queue_of(kind)}
    assert own == {f"book_{kind}", f"undo_book_{kind}"} & set(await activities_of(booking))
    assert own


@asynccontextmanager
async def running_all(client: Client, settings: Settings) -> AsyncIterator[None]:
    """Run all the workers of a worker process."""
    workers = create_workers(client, settings)
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*running)


async def test_a_supplier_that_wants_to_be_left_alone_is(client: Client, record: Record) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(OutcomeUnknown("The hotel supplier is busy", 0.7), None, QUICK)
        loop = asyncio.get_running_loop()
        began = loop.time()
        booking = await start(client, trip())
        await result_of(booking)
    # The policy alone would wait for a hundredth of a second.
    assert loop.time() - began > 0.7


async def test_a_refused_booking_is_final(client: Client, record: Record) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(NO)
        booking = await start(client, trip())
        assert (await result_of(booking))["message"] == "The hotel is full"
    assert hotels.asked == ["book"]


def test_a_rate_is_set_for_its_own_kind_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[str, float | None] = {}

    def note(_client: Client, **options: Any) -> None:
        rates[options["task_queue"]] = options.get("max_task_queue_activities_per_second")

    # A real one that is made and never run keeps others from its task queue.
    monkeypatch.setattr(run_worker, "Worker", note)
    monkeypatch.setenv("HOTEL_SUPPLIER_CALLS_PER_SECOND", "2.5")
    create_workers(cast(Client, None), Settings())
    kinds = {task_queue_of(kind): None for kind in KINDS}
    assert rates == {TASK_QUEUE_NAME: None, **kinds, task_queue_of("hotel"): 2.5}
