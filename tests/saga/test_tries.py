"""What surrounds every try of an activity, seen through a real server and worker."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

import activities
from record import Record
from run_worker import ACTIVITIES, WORKFLOWS
from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput, StepProgress
from tests.conftest import IMPATIENT, trip
from tests.faults import Call, FaultyRecord, Gate, down, faulty_worker, refuse_for_good
from tests.trips import (
    activities_of,
    events,
    resolve,
    result_of,
    start,
    steps_by_kind,
    until_stuck,
    untimed,
)
from tests.workers import running_worker, work_with
from workflows import BookingWorkflow


async def test_heartbeats_keep_a_slow_try_alive(client: Client, record: Record) -> None:
    policy = dataclasses.replace(IMPATIENT, heartbeat_timeout=0.5)
    async with running_worker(client, record, hotel_latency_seconds=1.2):
        result = await result_of(await start(client, trip(policy=policy)))
    assert result["status"] == "success"
    assert untimed(steps_by_kind(result)["hotel"]) == StepProgress(
        "hotel", "valid-hotel-id", "booked", attempts=1, held=True
    )


async def test_a_step_tells_at_which_try_it_was_booked_and_why_the_one_before_failed(
    client: Client, record: Record
) -> None:
    async with running_worker(client, record, hotel_outage_attempts=2):
        hotel = steps_by_kind(await result_of(await start(client, trip(attempts=3))))["hotel"]
    assert (hotel.attempts, hotel.last_error) == (3, "Hotel service is down. Retrying...")


async def test_a_final_failure_tells_its_try(client: Client, record: Record) -> None:
    async with running_worker(client, record, hotel_outage_attempts=1):
        failed = await start(client, trip(book_hotel_id="invalid-hotel-id"))
        hotel = steps_by_kind(await result_of(failed))["hotel"]
    assert (hotel.attempts, hotel.last_error) == (2, "Invalid hotel booking, rolling back!")


BookHotel = Callable[[BookVacationInput], Awaitable[str]]


def worker_with(client: Client, book_hotel: BookHotel) -> Worker:
    """Return a plain worker whose hotel is booked by another function."""
    replaced = [each for each in ACTIVITIES if each is not activities.book_hotel]
    named = activity.defn(name="book_hotel")(book_hotel)
    return Worker(
        client, task_queue=TASK_QUEUE_NAME, workflows=WORKFLOWS, activities=[*replaced, named]
    )


def loses(lost: set[int]) -> BookHotel:
    """Return a `book_hotel` whose tries of those numbers are lost; each other one fails but books
    once three have failed."""
    tried = 0

    async def book_hotel(book_input: BookVacationInput) -> str:
        nonlocal tried
        tried += 1
        if tried in lost:
            await asyncio.sleep(60)
        return await activities.book_hotel(book_input)

    return book_hotel


@pytest.mark.parametrize(
    ("attempts", "outage", "lost", "status"),
    [
        (1, 0, {1}, "success"),
        (1, 0, {1, 2, 3}, "success"),
        (2, 1, {2, 3}, "success"),
        (3, 4, {2, 4}, "success"),
        (2, 9, {2}, "failure"),
        (3, 9, {1, 3, 4}, "failure"),
    ],
)
async def test_a_lost_try_is_no_failure_of_the_supplier(
    client: Client,
    record: Record,
    attempts: int,
    outage: int,
    lost: set[int],
    status: str,
) -> None:
    """`outage` counts lost tries, too: they take time, in which the supplier mends."""
    work_with(record, hotel_outage_attempts=outage)
    policy = dataclasses.replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=60)
    async with worker_with(client, loses(lost)):
        booking = await start(client, trip(attempts=attempts, policy=policy))
        result = await result_of(booking)
    assert result["status"] == status
    hotel = steps_by_kind(result)["hotel"]
    if status == "failure":
        assert hotel.attempts == attempts + len(lost), "Every failure of the supplier counts"
        assert result["message"] == "Hotel service is down. Retrying..."
    assert (await activities_of(booking)).count("book_hotel") == len(lost) + 1


async def test_a_lost_try_never_outlasts_the_deadline_of_its_step(
    client: Client, record: Record
) -> None:
    work_with(record)
    policy = dataclasses.replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=1)
    async with worker_with(client, loses(set(range(100)))):
        result = await result_of(await start(client, trip(policy=policy)))
    assert result["message"] == "The supplier did not answer in time"


async def test_a_try_that_outlasts_its_workers_grace_is_tried_on_by_another(
    client: Client, record: Record
) -> None:
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        booking = await start(client, trip(attempts=1))
        await gate.reached()
    async with running_worker(client, record):
        result = await result_of(booking)
    await gate.open()
    assert result["status"] == "success"
    assert steps_by_kind(result)["hotel"].last_error == "The try was lost with its worker"


@pytest.mark.parametrize(
    ("hotel", "most"),
    [("valid-hotel-id", 6 + 6 * len(KINDS)), ("invalid-hotel-id", 30)],
    ids=["booked", "failed"],
)
async def test_the_tutorials_trips_have_short_histories(
    client: Client, record: Record, hotel: str, most: int
) -> None:
    async with running_worker(client, record, hotel_latency_seconds=0.05, hotel_outage_attempts=1):
        # The API starts trips without a search attribute.
        booking = await start(client, trip(attempts=5, book_hotel_id=hotel), with_status=False)
        await result_of(booking)
    assert len(await events(booking)) <= most


SECRET = "https://trips:pa55word@hotels.example/reservations"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError(f"Cannot reach {SECRET}"), "The hotel supplier failed"),
        (ValueError(f"Bad answer of {SECRET}"), "The hotel supplier failed"),
        (TimeoutError(SECRET), "The hotel supplier did not answer in time"),
        (KeyError("x" * 1_200_000), "The hotel supplier failed"),
    ],
    ids=["RuntimeError", "ValueError", "TimeoutError", "KeyError"],
)
async def test_only_what_a_supplier_means_for_travellers_reaches_them(
    client: Client,
    record: Record,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    said: str,
) -> None:
    async def fail(call: object) -> None:
        raise raised

    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = fail
        failed = await start(client, trip(attempts=2))
        result = await result_of(failed)
    assert result["message"] == said
    hotel = steps_by_kind(result)["hotel"]
    assert (hotel.attempts, hotel.last_error) == (2, said)
    assert SECRET not in str(await failed.fetch_history())
    assert str(raised)[:100] in caplog.text or isinstance(raised, TimeoutError)


async def test_a_suppliers_words_are_cut_where_they_enter(client: Client, record: Record) -> None:
    async def fail_at_length(call: Any) -> None:
        await down(call, "No rooms! " * 120_000)

    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = fail_at_length
        message = (await result_of(await start(client, trip(attempts=2))))["message"]
    assert isinstance(message, str)
    assert message.startswith("No rooms! No rooms! ")
    assert len(message) == 500


async def test_even_the_words_of_another_activity_do_not_block_a_trip(
    client: Client, record: Record
) -> None:
    work_with(record)

    async def refuse_at_length(book_input: BookVacationInput) -> str:
        raise ValueError("x" * 1_200_000)

    async with worker_with(client, refuse_at_length):
        message = (await result_of(await start(client, trip())))["message"]
    assert message == "x" * 499 + "…"


@pytest.mark.parametrize(("raised", "tries"), [(RuntimeError, 3), (ValueError, 1)])
async def test_the_tries_of_an_activity_that_does_not_tell_them_are_counted(
    client: Client, record: Record, raised: type[Exception], tries: int
) -> None:
    work_with(record)

    async def fail(book_input: BookVacationInput) -> str:
        raise raised

    async with worker_with(client, fail):
        result = await result_of(await start(client, trip(attempts=3)))
    assert steps_by_kind(result)["hotel"].attempts == tries


async def test_a_supplier_that_never_answers_has_failed(client: Client, record: Record) -> None:
    policy = dataclasses.replace(IMPATIENT, try_timeout=0.2)
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        began = dt.datetime.now(dt.UTC)
        result = await result_of(await start(client, trip(attempts=2, policy=policy)))
        await gate.open()
    assert result["message"] == "The hotel supplier did not answer in time"
    assert steps_by_kind(result)["hotel"].attempts == 2
    assert dt.datetime.now(dt.UTC) - began < dt.timedelta(seconds=20)


async def test_a_try_that_is_under_way_counts(client: Client, faults: FaultyRecord) -> None:
    faults.faults["reserve", "car"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    car = (await booking.query(BookingWorkflow.progress)).steps[0]
    assert (car.state, car.attempts) == ("booking", 1)
    await gate.open()
    await result_of(booking)


async def test_an_undo_that_is_refused_at_last_tells_at_which_try(
    client: Client, faults: FaultyRecord
) -> None:
    async def down_and_then_refused(call: Call) -> None:
        await (down if call.number < 3 else refuse_for_good)(call)

    faults.faults["cancel", "car"] = down_and_then_refused
    policy = dataclasses.replace(IMPATIENT, undo_attempts=5)
    booking = await start(client, trip(book_hotel_id="invalid-hotel-id", policy=policy))
    stuck = await until_stuck(booking, "car")
    assert stuck.steps[0].undo_attempts == 3
    await resolve(booking, "car", "settled")
    await result_of(booking)
