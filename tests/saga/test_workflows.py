"""Booking and rolling back: results, order, tries, deadlines, determinism."""

import asyncio
import logging
from functools import partial
from typing import Any

import pytest
import temporalio.converter
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

import run_worker
from record import Record, ReservationRefused
from shared import KINDS, BookVacationInput, Kind, SagaPolicy
from tests.conftest import trip
from tests.faults import (
    Call,
    FaultyRecord,
    Gate,
    answer_lost,
    at_first,
    down,
    faulty_worker,
    healthy,
)
from tests.trips import (
    BOOK_ALL,
    UNDO_ALL,
    activities_of,
    cancelled_steps,
    events,
    held,
    result_of,
    start,
    status_shown,
    steps_by_kind,
)
from tests.workers import running_worker

LAST = KINDS[-1]

QUICK_TIMEOUT = SagaPolicy(step_deadline=20.0, try_timeout=0.3, retry_interval=0.01)
"""Gives up a try that hangs within 0.3 seconds; only for steps that hang, or may be tried again."""


def invalid(kind: Kind, **changes: Any) -> BookVacationInput:
    """Return a trip whose step of `kind` no supplier knows."""
    return trip(**{f"book_{kind}_id": f"invalid-{kind}-id"}, **changes)


async def tries_in_history(workflow: WorkflowHandle[Any, Any]) -> list[int]:
    """Return the number of the last try of each activity, in their order."""
    return [
        event.activity_task_started_event_attributes.attempt
        for event in await events(workflow)
        if event.HasField("activity_task_started_event_attributes")
    ]


async def test_a_booked_trip_tells_what_it_holds(client: Client, faults: FaultyRecord) -> None:
    booked = await start(client, trip())
    result = await result_of(booked)
    assert set(result) == {"status", "message", "steps"}
    assert result["status"] == "success"
    assert result["message"] == {f"booked_{kind}": f"valid-{kind}-id" for kind in KINDS}
    times = ("booking_seconds", "undo_seconds")
    untimed = [
        {name: told for name, told in step.items() if name not in times} for step in result["steps"]
    ]
    assert untimed == [
        {
            "kind": kind,
            "item": f"valid-{kind}-id",
            "state": "booked",
            "attempts": 1,
            "undo_attempts": 0,
            "last_error": None,
            "note": None,
            "held": True,
            "reference": None,
        }
        for kind in KINDS
    ]
    assert await held(faults, booked) == list(KINDS)
    assert await activities_of(booked) == BOOK_ALL


@pytest.mark.parametrize("failing", range(len(KINDS)), ids=KINDS)
async def test_a_failing_step_is_undone_with_all_before_it_in_reverse(
    client: Client, faults: FaultyRecord, failing: int
) -> None:
    failed = await start(client, invalid(KINDS[failing]))
    result = await result_of(failed)
    assert result["status"] == "failure"
    assert result["message"] == f"Invalid {KINDS[failing]} booking, rolling back!"
    assert await activities_of(failed) == BOOK_ALL[: failing + 1] + UNDO_ALL[-1 - failing :]
    assert await held(faults, failed) == []
    states = [step["state"] for step in result["steps"]]
    assert states == ["undone"] * (failing + 1) + ["pending"] * (len(KINDS) - 1 - failing)
    assert result["steps"][failing]["last_error"] == result["message"]


async def test_a_value_error_is_never_tried_again(client: Client, faults: FaultyRecord) -> None:
    failed = await start(client, invalid("hotel", attempts=5))
    result = await result_of(failed)
    assert steps_by_kind(result)["hotel"].attempts == 1
    assert await tries_in_history(failed) == [1, 1, 1, 1]


@pytest.mark.parametrize("attempts", [1, 4])
async def test_a_step_is_tried_at_most_attempts_times(
    client: Client, faults: FaultyRecord, attempts: int
) -> None:
    faults.faults["reserve", "flight"] = down
    failed = await start(client, trip(attempts=attempts))
    result = await result_of(failed)
    assert result["message"] == "The record is down"
    assert faults.tries("reserve", "flight") == attempts
    assert steps_by_kind(result)["flight"].attempts == attempts
    assert await held(faults, failed) == []


@pytest.mark.parametrize(
    ("attempts", "status"), [(3, "success"), (2, "failure")], ids=["outlasted", "too long"]
)
async def test_a_hotel_outage_is_outlasted_by_enough_attempts(
    client: Client, record: Record, attempts: int, status: str
) -> None:
    async with running_worker(client, record, hotel_outage_attempts=2):
        booking = await start(client, trip(attempts=attempts))
        result = await result_of(booking)
    assert result["status"] == status
    hotel = steps_by_kind(result)["hotel"]
    assert (hotel.attempts, hotel.last_error) == (attempts, "Hotel service is down. Retrying...")
    assert (result["message"] == hotel.last_error) == (status == "failure")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_outlasts_a_store_that_is_down_for_a_while(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", kind] = at_first(2, down)
    booked = await start(client, trip(attempts=3))
    assert steps_by_kind(await result_of(booked))[kind].attempts == 3
    assert await held(faults, booked) == list(KINDS)


async def test_a_step_whose_answer_was_lost_is_booked_once(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = at_first(1, answer_lost)
    booked = await start(client, trip())
    assert (await result_of(booked))["status"] == "success"
    assert faults.tries("reserve", "car") == 2
    assert await held(faults, booked) == list(KINDS)


async def test_a_step_that_booked_but_seemed_to_fail_is_undone(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = at_first(1, answer_lost)
    failed = await start(client, trip(attempts=1))
    assert (await result_of(failed))["message"] == "The answer was lost"
    assert await held(faults, failed) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_undo_is_tried_until_it_succeeds(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = at_first(2, down)
    failed = await start(client, invalid(LAST))
    result = await result_of(failed)
    assert result["message"] == f"Invalid {LAST} booking, rolling back!"
    assert steps_by_kind(result)[kind].undo_attempts == 3 == faults.tries("cancel", kind)
    assert await held(faults, failed) == []


async def test_the_deadline_of_a_step_ends_a_trip_whose_supplier_never_answers(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    policy = SagaPolicy(step_deadline=0.3, try_timeout=20.0)
    failed = await start(client, trip(attempts=100, policy=policy))
    result = await result_of(failed)
    assert result["message"] == "The supplier did not answer in time"
    assert await held(faults, failed) == []
    await gate.open()


async def test_a_step_that_ends_at_its_deadline_tells_the_suppliers_last_words(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = down
    policy = SagaPolicy(step_deadline=0.3, retry_interval=0.01, retry_interval_cap=0.02)
    failed = await start(client, trip(attempts=100, policy=policy))
    assert (await result_of(failed))["message"] == "The record is down"
    assert 1 <= faults.tries("reserve", "car") < 100


@pytest.mark.parametrize("kind", KINDS)
async def test_a_late_try_cannot_book_after_its_undo(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", kind] = gate = Gate()
    failed = await start(client, trip(attempts=2, policy=QUICK_TIMEOUT))
    assert (await result_of(failed))["status"] == "failure"
    for late in await gate.open():
        assert isinstance(late, ReservationRefused)
    assert await held(faults, failed) == []


async def test_a_late_try_cannot_book_what_another_try_booked_and_the_trip_undid(
    client: Client, faults: FaultyRecord
) -> None:
    gate = Gate()
    faults.faults["reserve", "car"] = at_first(1, gate)
    failed = await start(client, invalid("hotel", policy=QUICK_TIMEOUT))
    assert (await result_of(failed))["message"] == "Invalid hotel booking, rolling back!"
    (late,) = await gate.open()
    assert isinstance(late, ReservationRefused)
    assert await held(faults, failed) == []


async def test_two_tries_at_the_same_time_make_one_reservation(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = gate = Gate()
    booking = await start(client, trip(policy=QUICK_TIMEOUT))
    await gate.reached(calls=2)
    assert set(await gate.open()) == {None}
    assert (await result_of(booking))["status"] == "success"
    assert await held(faults, booking) == list(KINDS)


async def test_the_history_says_in_words_what_each_activity_does(
    client: Client, faults: FaultyRecord
) -> None:
    failed = await start(client, invalid("hotel"))
    await result_of(failed)
    decode = temporalio.converter.PayloadConverter.default.from_payload
    summaries = [
        decode(event.user_metadata.summary, str)
        for event in await events(failed)
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert summaries == [
        "Book car valid-car-id",
        "Book hotel invalid-hotel-id",
        "Undo hotel invalid-hotel-id",
        "Undo car valid-car-id",
    ]


async def test_the_status_attribute_follows_a_trip_that_carries_it(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    booked, failed = await start(client, trip()), await start(client, invalid("car"))
    await gate.reached()
    assert await status_shown(booked) == "running"
    await gate.open()
    await asyncio.gather(result_of(booked), result_of(failed))
    assert await status_shown(booked) == "booked"
    assert await status_shown(failed) == "rolled_back"


async def test_a_trip_without_the_status_attribute_is_booked_all_the_same(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await start(client, trip(), with_status=False)
    assert (await result_of(booked))["status"] == "success"
    assert await status_shown(booked) is None


async def failed_workflow_tasks(workflow: WorkflowHandle[Any, Any]) -> list[str]:
    return [
        event.workflow_task_failed_event_attributes.failure.message
        for event in await events(workflow)
        if event.HasField("workflow_task_failed_event_attributes")
    ]


async def test_trips_that_are_replayed_at_each_workflow_task_end_alike(
    client: Client,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def cancel_once(call: Call) -> None:
        if call.trip_id == cancelled.id:
            await cancelled.cancel()
        await healthy(call)

    monkeypatch.setattr(run_worker, "Worker", partial(Worker, max_cached_workflows=0))
    with caplog.at_level(logging.ERROR):
        async with faulty_worker(client, record, hotel_outage_attempts=1) as faults:
            faults.faults["reserve", LAST] = cancel_once
            cancelled = await start(client, trip())
            booked, failed = await start(client, trip()), await start(client, invalid(LAST))
            assert (await result_of(booked))["status"] == "success"
            assert (await result_of(failed))["message"] == f"Invalid {LAST} booking, rolling back!"
            steps = await cancelled_steps(cancelled)
    assert {step.state for step in steps.values()} == {"undone"}
    assert await held(record, booked) == list(KINDS)
    assert await held(record, failed) == await held(record, cancelled) == []
    for ended in (booked, failed, cancelled):
        assert await failed_workflow_tasks(ended) == []
    assert [record.getMessage() for record in caplog.records] == []
