"""Booking and rolling back: results, order, deadlines, late tries, determinism."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import temporalio.converter
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.worker import Worker

import run_worker
from record import ReservationRefused
from shared import KINDS, Kind
from tests.conftest import IMPATIENT
from tests.faults import Call, Gate, answer_lost, at_first, healthy, unavailable
from tests.saga.stage import DOOMED, LAST, LOSING, ROLLED_BACK, Stage
from tests.trips import (
    BOOK_ALL,
    UNDO_ALL,
    activities_of,
    cancelled,
    events,
    failed_workflow_tasks,
    result_of,
)


@pytest.mark.shape("booked")
async def test_a_booked_trip_tells_what_it_holds(stage: Stage) -> None:
    booked = await stage.start()
    assert await result_of(booked) == {
        "status": "success",
        "message": {f"booked_{kind}": f"valid-{kind}-id" for kind in KINDS},
    }
    assert await stage.held(booked) == list(KINDS)
    assert await activities_of(booked) == BOOK_ALL


@pytest.mark.shape("failed_at_{kind}")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_failing_step_is_undone_with_all_before_it_in_reverse(
    stage: Stage, kind: Kind
) -> None:
    begun = KINDS.index(kind) + 1
    items: dict[str, Any] = {f"book_{kind}_id": f"invalid-{kind}-id"}
    failed = await stage.start(attempts=5, **items)
    reason = f"Invalid {kind} booking, rolling back!"
    assert await result_of(failed) == {"status": "failure", "message": reason}
    assert await activities_of(failed) == BOOK_ALL[:begun] + UNDO_ALL[-begun:]
    assert await stage.held(failed) == []
    steps = await stage.steps(failed)
    states = [step.state for step in steps.values()]
    assert states == ["undone"] * begun + ["pending"] * (len(KINDS) - begun)
    assert (steps[kind].attempts, steps[kind].last_error) == (1, reason), "A final word is final"


@pytest.mark.parametrize(
    ("attempts", "outage", "status"),
    [
        pytest.param(3, 2, "success", marks=pytest.mark.shape("retried")),
        pytest.param(3, 3, "failure", marks=pytest.mark.shape("failed_after_all_attempts")),
        (1, 1, "failure"),
    ],
)
async def test_a_step_is_given_up_at_so_many_failures_of_its_supplier(
    empty_stage: Stage, attempts: int, outage: int, status: str
) -> None:
    async with empty_stage.worker(hotel_outage_attempts=outage):
        booking = await empty_stage.start(attempts=attempts)
        result = await result_of(booking)
    assert result["status"] == status
    hotel = (await empty_stage.steps(booking))["hotel"]
    assert (hotel.attempts, hotel.last_error) == (attempts, "Hotel service is down. Retrying...")
    assert (result["message"] == hotel.last_error) == (status == "failure")
    assert await empty_stage.held(booking) == (list(KINDS) if status == "success" else [])


async def test_a_step_whose_answer_was_lost_is_booked_once(stage: Stage) -> None:
    stage.breaks("reserve", "hotel", at_first(1, answer_lost))
    booked = await stage.booked(attempts=1)
    assert stage.record.tries("reserve", "hotel") == 2
    assert await stage.held(booked) == list(KINDS)


@pytest.mark.shape("undo_retried")
async def test_an_undo_is_tried_until_it_succeeds(stage: Stage) -> None:
    stage.breaks("cancel", "hotel", at_first(2, unavailable))
    failed = await stage.start(**DOOMED)
    assert (await result_of(failed))["message"] == ROLLED_BACK
    tries = stage.record.tries("cancel", "hotel")
    assert (await stage.steps(failed))["hotel"].undo_attempts == tries == 3
    assert await stage.held(failed) == []


async def test_a_step_that_ends_at_its_deadline_tells_the_suppliers_last_words(
    stage: Stage,
) -> None:
    stage.breaks("reserve", "car", unavailable)
    failed = await stage.start(attempts=10_000, policy=replace(IMPATIENT, step_deadline=3))
    assert (await result_of(failed))["message"] == "The car is unavailable"
    assert await stage.held(failed) == []


@pytest.mark.shape("failed_at_its_deadline")
async def test_a_late_try_cannot_book_after_its_undo(stage: Stage, no_heartbeats: None) -> None:
    gate = stage.breaks("reserve", "car", Gate())
    failed = await stage.start(attempts=2, policy=replace(LOSING, step_deadline=1.5))
    assert (await result_of(failed))["message"] == "The supplier did not answer in time"
    late = await gate.open()
    assert late
    for answer in late:
        assert isinstance(answer, ReservationRefused)
    assert await stage.held(failed) == []


async def test_two_tries_at_the_same_time_make_one_reservation(
    stage: Stage, no_heartbeats: None
) -> None:
    booking, gate = await stage.at_gate("reserve", "car", policy=LOSING)
    await gate.reached(calls=2)
    assert set(await gate.open()) == {None}
    assert (await result_of(booking))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)


@pytest.mark.parametrize(
    ("hotel", "most"),
    [("valid-hotel-id", 6 + 6 * len(KINDS)), ("invalid-hotel-id", 30)],
    ids=["booked", "failed"],
)
async def test_the_tutorials_trips_have_short_histories(
    empty_stage: Stage, hotel: str, most: int
) -> None:
    async with empty_stage.worker(hotel_latency_seconds=0.05, hotel_outage_attempts=1):
        booking = await empty_stage.start(attempts=5, book_hotel_id=hotel)
        await result_of(booking)
    assert len(await events(booking)) <= most


async def test_the_web_ui_says_in_words_what_each_activity_does_and_how_the_trip_stands(
    stage: Stage,
) -> None:
    failed = await stage.start(book_hotel_id="invalid-hotel-id")
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
    untried = "".join(f", {kind}: pending" for kind in KINDS[2:])
    assert shown.current_details == f"**rolled_back** (car: undone, hotel: undone{untried})"


async def test_trips_that_are_replayed_at_each_workflow_task_end_alike(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def cancel_once(call: Call) -> None:
        if call.trip_id == stopped.id:
            await stopped.cancel()
        await healthy(call)

    monkeypatch.setattr(run_worker, "Worker", partial(Worker, max_cached_workflows=0))
    empty_stage.breaks("reserve", LAST, cancel_once)
    with caplog.at_level(logging.ERROR):
        async with empty_stage.worker(hotel_outage_attempts=1):
            stopped, booked, failed = [
                await empty_stage.start(task_timeout=2.0, **items) for items in ({}, {}, DOOMED)
            ]
            assert (await result_of(booked))["status"] == "success"
            assert (await result_of(failed))["message"] == ROLLED_BACK
            await cancelled(stopped)
    assert await empty_stage.held(booked) == list(KINDS)
    assert await empty_stage.held(failed) == await empty_stage.held(stopped) == []
    for ended in (booked, failed, stopped):
        assert await failed_workflow_tasks(ended) == []
    assert [logged.getMessage() for logged in caplog.records] == []
