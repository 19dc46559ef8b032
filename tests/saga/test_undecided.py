"""Suppliers that are somebody else's, seen through real workflows: undecided, late, refusing, busy.

What a supplier answers is a script; the record, the desks, the worker and Temporal are real.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, cast

import pytest
from temporalio.client import Client

import run_worker
from run_worker import create_workers
from settings import Settings
from shared import KINDS, TASK_QUEUE_NAME, Kind, task_queue_of
from suppliers import OutcomeUnknown, Pending, Refused, Released
from tests.conftest import IMPATIENT
from tests.saga.stage import DOOMED, Stage
from tests.suppliers.script import QUICK, SURE, UNKNOWN, Script, working_with
from tests.trips import (
    Trip,
    activities_of,
    cancelled,
    events,
    eventually,
    result_of,
    retry_undo,
    until,
    until_failed,
    until_stuck,
)
from tests.workers import running_all, work_with


def at_hotels(stage: Stage, late: float = 0.0) -> AbstractAsyncContextManager[Script]:
    """Run a worker whose hotels are a script."""
    return working_with(stage.client, stage.record, late=late)


@pytest.mark.shape("pending_and_booked")
async def test_a_pending_booking_is_asked_for_and_costs_no_try(empty_stage: Stage) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(Pending(0), Pending(0), Pending(0), QUICK)
        booking = await empty_stage.start(attempts=1)
        assert (await result_of(booking))["status"] == "success"
    hotel = (await empty_stage.steps(booking))["hotel"]
    assert (hotel.state, hotel.attempts, hotel.reference) == ("booked", 1, "QK7R2M")
    assert hotel.last_error is None
    assert hotels.asked == ["book", "find", "find", "find"]
    assert (await activities_of(booking)).count("book_hotel") == 1, "A question is no event"


async def test_tries_that_failed_before_an_undecided_one_are_counted(empty_stage: Stage) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(UNKNOWN, None, Pending(0.01), UNKNOWN, Pending(0.01), Released())
        booking = await empty_stage.start(attempts=3)
        result = await result_of(booking)
    assert result["message"] == "The supplier has cancelled the hotel"
    assert (await empty_stage.steps(booking))["hotel"].attempts == 2


async def test_what_stays_undecided_until_the_deadline_is_rolled_back(empty_stage: Stage) -> None:
    async with at_hotels(empty_stage) as hotels:

        async def undecided() -> Pending | Released:
            return SURE if hotels.asked[-1] == "cancel" else Pending(0.2)

        hotels.says(undecided)
        booking = await empty_stage.start(policy=replace(IMPATIENT, step_deadline=1.0))
        result = await result_of(booking)
    assert result["message"] == "The hotel supplier has not decided yet"
    assert await empty_stage.held(booking) == []


async def test_a_trip_whose_workers_are_away_past_the_deadline_is_rolled_back(
    empty_stage: Stage,
) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(Pending(2.5))  # The worker has left by then.
        booking = await empty_stage.start(policy=replace(IMPATIENT, step_deadline=3.0))
        await until_failed(booking, tries=1)
    await eventually(lambda: no_activity(booking))
    async with at_hotels(empty_stage) as hotels:
        hotels.says(SURE)
        assert (await result_of(booking))["message"] == "The hotel supplier has not decided yet"
    assert hotels.asked == ["cancel"]


async def no_activity(booking: Trip) -> bool:
    return not (await booking.describe()).raw_description.pending_activities


@pytest.mark.shape("pending_and_cancelled")
async def test_a_trip_that_is_cancelled_while_a_supplier_decides_is_undone(
    empty_stage: Stage,
) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(Pending(3600), SURE)
        booking = await empty_stage.start()
        await until_failed(booking, tries=1)
        await booking.cancel()
        await cancelled(booking)
    assert hotels.asked == ["book", "cancel"]
    assert await empty_stage.held(booking) == []


@pytest.mark.shape("undone_late")
async def test_an_undo_that_takes_its_time_delays_no_other_and_leaves_no_late_booking(
    empty_stage: Stage,
) -> None:
    async with at_hotels(empty_stage, late=60) as hotels:
        hotels.says(UNKNOWN, None)
        booking = await empty_stage.start(attempts=1)
        await until(booking, lambda steps: (steps["car"], steps["hotel"]) == ("undone", "undoing"))
        hotels.says(QUICK, SURE)
        result = await result_of(booking)
    assert result["message"] == "The hotel supplier failed"
    hotel = (await empty_stage.steps(booking))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 1), "To look again is no failure"
    assert hotels.asked[-2:] == ["find", "cancel"]


@pytest.mark.shape("undone_late_and_stuck")
async def test_an_undo_that_is_undecided_and_then_refused_is_stuck_in_the_suppliers_words(
    empty_stage: Stage,
) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(QUICK, Pending(0.01), QUICK, Refused("Too late to cancel"))
        booking = await empty_stage.start(**DOOMED)
        assert (await until_stuck(booking, "hotel"))["car"] == "undone"
        hotel = (await empty_stage.steps(booking))["hotel"]
        assert (hotel.undo_attempts, hotel.last_error) == (1, "Too late to cancel")
        assert await empty_stage.record.trips.not_just_running([booking.id])
        hotels.says(QUICK, SURE)
        await retry_undo(booking, "hotel")
        await result_of(booking)
    assert await empty_stage.held(booking) == []


@pytest.mark.parametrize("kind", ["car", "flight"])
async def test_a_kind_with_a_task_queue_of_its_own_is_booked_and_undone_there(
    empty_stage: Stage, kind: Kind
) -> None:
    policy = replace(IMPATIENT, own_queues=(kind,))
    settings = work_with(empty_stage.record)
    async with running_all(empty_stage.client, settings):
        booking = await empty_stage.start(policy=policy, **DOOMED)
        await result_of(booking)
    queues = {
        told.activity_type.name: told.task_queue.name
        for event in await events(booking)
        if (told := event.activity_task_scheduled_event_attributes).activity_id
    }
    own = {name for name, queue in queues.items() if queue == task_queue_of(kind)}
    assert own == {f"book_{kind}", f"undo_book_{kind}"} & set(await activities_of(booking))
    assert own


@pytest.mark.shape("decided_late")
async def test_a_supplier_that_wants_to_be_left_alone_is(empty_stage: Stage) -> None:
    async with at_hotels(empty_stage) as hotels:
        hotels.says(OutcomeUnknown("The hotel supplier is busy", 0.7), None, QUICK)
        loop = asyncio.get_running_loop()
        began = loop.time()
        booking = await empty_stage.start()
        await result_of(booking)
    # The policy alone would wait for a hundredth of a second.
    assert loop.time() - began > 0.7


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
