"""Booking and rolling back: results, order, deadlines, late tries, determinism."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import temporalio.converter
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

import run_worker
from record import Record, ReservationRefused
from shared import KINDS, BookVacationInput, Kind
from tests.conftest import IMPATIENT, trip
from tests.faults import (
    Call,
    FaultyRecord,
    Gate,
    answer_lost,
    at_first,
    faulty_worker,
    healthy,
    unavailable,
)
from tests.saga.conftest import LOSING
from tests.trips import (
    BOOK_ALL,
    UNDO_ALL,
    activities_of,
    cancelled,
    events,
    held,
    result_of,
    start,
    steps_of,
)
from tests.workers import running_worker

LAST = KINDS[-1]


def invalid(kind: Kind, **changes: Any) -> BookVacationInput:
    """Return a trip whose step of `kind` no supplier knows."""
    return trip(**{f"book_{kind}_id": f"invalid-{kind}-id"}, **changes)


async def test_a_booked_trip_tells_what_it_holds(client: Client, faults: FaultyRecord) -> None:
    booked = await start(client, trip())
    assert await result_of(booked) == {
        "status": "success",
        "message": {f"booked_{kind}": f"valid-{kind}-id" for kind in KINDS},
    }
    assert await held(faults, booked) == list(KINDS)
    assert await activities_of(booked) == BOOK_ALL


@pytest.mark.parametrize("failing", range(len(KINDS)), ids=KINDS)
async def test_a_failing_step_is_undone_with_all_before_it_in_reverse(
    client: Client, faults: FaultyRecord, failing: int
) -> None:
    kind = KINDS[failing]
    failed = await start(client, invalid(kind, attempts=5))
    reason = f"Invalid {kind} booking, rolling back!"
    assert await result_of(failed) == {"status": "failure", "message": reason}
    assert await activities_of(failed) == BOOK_ALL[: failing + 1] + UNDO_ALL[-1 - failing :]
    assert await held(faults, failed) == []
    steps = await steps_of(faults, failed)
    begun = failing + 1
    states = [step.state for step in steps.values()]
    assert states == ["undone"] * begun + ["pending"] * (len(KINDS) - begun)
    assert (steps[kind].attempts, steps[kind].last_error) == (1, reason), "A final word is final"


@pytest.mark.parametrize(
    ("attempts", "outage", "status"),
    [(3, 2, "success"), (2, 2, "failure"), (1, 1, "failure"), (4, 99, "failure")],
)
async def test_a_step_is_given_up_at_so_many_failures_of_its_supplier(
    client: Client, record: Record, attempts: int, outage: int, status: str
) -> None:
    async with running_worker(client, record, hotel_outage_attempts=outage):
        booking = await start(client, trip(attempts=attempts))
        result = await result_of(booking)
    assert result["status"] == status
    hotel = (await steps_of(record, booking))["hotel"]
    assert (hotel.attempts, hotel.last_error) == (attempts, "Hotel service is down. Retrying...")
    assert (result["message"] == hotel.last_error) == (status == "failure")
    assert len(await held(record, booking)) == (len(KINDS) if status == "success" else 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_whose_answer_was_lost_is_booked_once(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", kind] = at_first(1, answer_lost)
    booked = await start(client, trip(attempts=1))
    assert (await result_of(booked))["status"] == "success"
    assert faults.tries("reserve", kind) == 2
    assert await held(faults, booked) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_undo_is_tried_until_it_succeeds(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = at_first(2, unavailable)
    failed = await start(client, invalid(LAST))
    assert (await result_of(failed))["message"] == f"Invalid {LAST} booking, rolling back!"
    assert (await steps_of(faults, failed))[kind].undo_attempts == 3 == faults.tries("cancel", kind)
    assert await held(faults, failed) == []


async def test_the_deadline_of_a_step_ends_a_trip_whose_supplier_never_answers(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    policy = replace(IMPATIENT, step_deadline=0.3, try_timeout=20.0)
    failed = await start(client, trip(attempts=100, policy=policy))
    assert (await result_of(failed))["message"] == "The supplier did not answer in time"
    assert await held(faults, failed) == []
    await gate.open()


async def test_a_step_that_ends_at_its_deadline_tells_the_suppliers_last_words(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = unavailable
    failed = await start(client, trip(attempts=10_000, policy=replace(IMPATIENT, step_deadline=1)))
    assert (await result_of(failed))["message"] == "The car is unavailable"
    assert await held(faults, failed) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_late_try_cannot_book_after_its_undo(
    client: Client, faults: FaultyRecord, no_heartbeats: None, kind: Kind
) -> None:
    faults.faults["reserve", kind] = gate = Gate()
    policy = replace(LOSING, step_deadline=1.0)
    failed = await start(client, trip(attempts=2, policy=policy))
    assert (await result_of(failed))["message"] == "The supplier did not answer in time"
    late = await gate.open()
    assert len(late) > 1
    for answer in late:
        assert isinstance(answer, ReservationRefused)
    assert await held(faults, failed) == []


async def test_a_late_try_cannot_book_what_another_try_booked_and_the_trip_undid(
    client: Client, faults: FaultyRecord, no_heartbeats: None
) -> None:
    gate = Gate()
    faults.faults["reserve", "car"] = at_first(1, gate)
    failed = await start(client, invalid("hotel", policy=LOSING))
    assert (await result_of(failed))["message"] == "Invalid hotel booking, rolling back!"
    (late,) = await gate.open()
    assert isinstance(late, ReservationRefused)
    assert await held(faults, failed) == []


async def test_two_tries_at_the_same_time_make_one_reservation(
    client: Client, faults: FaultyRecord, no_heartbeats: None
) -> None:
    faults.faults["reserve", "car"] = gate = Gate()
    booking = await start(client, trip(policy=LOSING))
    await gate.reached(calls=2)
    assert set(await gate.open()) == {None}
    assert (await result_of(booking))["status"] == "success"
    assert await held(faults, booking) == list(KINDS)


@pytest.mark.parametrize(
    ("hotel", "most"),
    [("valid-hotel-id", 6 + 6 * len(KINDS)), ("invalid-hotel-id", 30)],
    ids=["booked", "failed"],
)
async def test_the_tutorials_trips_have_short_histories(
    client: Client, record: Record, hotel: str, most: int
) -> None:
    async with running_worker(client, record, hotel_latency_seconds=0.05, hotel_outage_attempts=1):
        booking = await start(client, trip(attempts=5, book_hotel_id=hotel))
        await result_of(booking)
    assert len(await events(booking)) <= most


async def test_the_web_ui_says_in_words_what_each_activity_does_and_how_the_trip_stands(
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
    shown = await failed.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert shown.current_details == "**rolled_back** (car: undone, hotel: undone, flight: pending)"


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
        if call.trip_id == stopped.id:
            await stopped.cancel()
        await healthy(call)

    monkeypatch.setattr(run_worker, "Worker", partial(Worker, max_cached_workflows=0))
    with caplog.at_level(logging.ERROR):
        async with faulty_worker(client, record, hotel_outage_attempts=1) as faults:
            faults.faults["reserve", LAST] = cancel_once
            stopped = await start(client, trip())
            booked, failed = await start(client, trip()), await start(client, invalid(LAST))
            assert (await result_of(booked))["status"] == "success"
            assert (await result_of(failed))["message"] == f"Invalid {LAST} booking, rolling back!"
            await cancelled(stopped)
    assert await held(record, booked) == list(KINDS)
    assert await held(record, failed) == await held(record, stopped) == []
    for ended in (booked, failed, stopped):
        assert await failed_workflow_tasks(ended) == []
    assert [record.getMessage() for record in caplog.records] == []
