"""What counts as a failure of the supplier, and what costs a trip nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio import activity
from temporalio.worker import Worker

import activities
from record import RecordBroken, RecordUnavailable, StepProgress
from run_worker import ACTIVITIES, WORKFLOWS
from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput, Kind
from suppliers import OutcomeUnknown
from tests.conftest import IMPATIENT, trip
from tests.encrypting import with_keys
from tests.faults import (
    Call,
    Fault,
    Gate,
    activity_half,
    down,
    healthy,
    unavailable,
    workflow_half,
)
from tests.saga.stage import LOSING, Stage
from tests.trips import (
    activities_of,
    events,
    result_of,
    start,
    until_failed,
    untimed,
)


async def test_heartbeats_keep_a_slow_try_alive(empty_stage: Stage) -> None:
    policy = replace(IMPATIENT, heartbeat_timeout=0.5)
    async with empty_stage.worker(hotel_latency_seconds=1.2):
        booking = await empty_stage.start(attempts=1, policy=policy)
        assert (await result_of(booking))["status"] == "success"
    assert untimed((await empty_stage.steps(booking))["hotel"]) == StepProgress(
        "hotel", "valid-hotel-id", "booked", attempts=1, held=True
    )


# What is not the supplier's failure


@pytest.mark.parametrize(
    ("attempts", "tries", "status"),
    [
        (1, "lost lost lost", "success"),
        (2, "failed lost failed", "failure"),
        (3, "lost failed lost failed failed", "failure"),
        (1, "away away away away away away away away", "success"),
        (2, "failed away lost away", "success"),
        (1, "broken broken broken", "success"),
    ],
)
async def test_only_the_suppliers_failures_count(
    stage: Stage,
    no_heartbeats: None,
    attempts: int,
    tries: str,
    status: str,
) -> None:
    gate = Gate()
    ends: dict[str, Fault] = {"lost": gate, "failed": unavailable, "away": down, "broken": broken}
    planned = tries.split()

    async def fault(call: Call) -> None:
        end = ends[planned[call.number - 1]] if call.number <= len(planned) else healthy
        await end(call)

    stage.breaks("reserve", "hotel", fault)
    booking = await stage.start(attempts=attempts, policy=LOSING)
    assert (await result_of(booking))["status"] == status
    failures = planned.count("failed")
    hotel = (await stage.steps(booking))["hotel"]
    assert hotel.attempts == failures + (status == "success")
    assert hotel.last_error == ("The hotel is unavailable" if failures else None)
    assert (await activities_of(booking)).count("book_hotel") == 1
    before = await stage.held(booking)
    await gate.open()
    assert await stage.held(booking) == before == (list(KINDS) if status == "success" else [])


async def broken(call: Call) -> None:
    raise RecordBroken("No such table")


async def test_a_broken_record_is_a_bug_in_the_logs_and_no_word_of_the_suppliers(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.breaks("reserve", "car", broken)
    booking = await stage.start(policy=replace(IMPATIENT, step_deadline=2.0))
    assert (await result_of(booking))["message"] == "The supplier did not answer in time"
    assert "The record is broken" in caplog.text
    assert (await stage.steps(booking))["car"].last_error is None


async def test_a_try_that_outlasts_its_workers_grace_is_tried_on_by_another(
    empty_stage: Stage,
) -> None:
    async with empty_stage.worker():
        booking, gate = await empty_stage.at_gate("reserve", "hotel", attempts=1)
    empty_stage.record.faults.clear()
    async with empty_stage.worker():
        assert (await result_of(booking))["status"] == "success"
    await gate.open()
    assert (await empty_stage.steps(booking))["hotel"].attempts == 1


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("missing", ["book_hotel", "undo_book_hotel"])
async def test_a_stray_worker_that_lacks_an_activity_costs_nothing(
    empty_stage: Stage, missing: str, attempts: int
) -> None:
    policy = replace(IMPATIENT, undo_attempts=attempts)
    flight = "invalid" if missing == "undo_book_hotel" else "valid"
    booking = await empty_stage.start(attempts=attempts, policy=policy, book_flight_id=flight)
    lacking = [each for each in ACTIVITIES if each.__name__ != missing]
    async with plain_worker(empty_stage, lacking):
        await until_failed(booking, tries=attempts + 1)
    async with empty_stage.worker():
        result = await result_of(booking)
    hotel = (await empty_stage.steps(booking))["hotel"]
    if missing == "book_hotel":
        assert (result["status"], hotel.state, hotel.attempts) == ("success", "booked", 1)
    else:
        assert (result["status"], hotel.state, hotel.undo_attempts) == ("failure", "undone", 1)


async def test_a_worker_that_lacks_the_key_costs_nothing(empty_stage: Stage) -> None:
    encrypted = with_keys(empty_stage.client, "new")
    booking = await start(encrypted, trip(attempts=1))
    async with workflow_half(encrypted):
        async with activity_half(empty_stage.client):
            await until_failed(booking, tries=2)
        async with activity_half(encrypted):
            assert (await result_of(booking))["status"] == "success"


async def test_a_failure_that_the_record_cannot_be_told_of_costs_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, away = stage.record.reservations.count_failure, ["Away"] * 3

    async def lossy(trip: BookVacationInput, kind: Kind, words: str, *, final: bool) -> int:
        if away:
            raise RecordUnavailable(away.pop())
        return await count(trip, kind, words, final=final)

    monkeypatch.setattr(stage.record.reservations, "count_failure", lossy)
    stage.breaks("reserve", "hotel", unavailable)
    booking = await stage.start(attempts=2)
    assert (await result_of(booking))["message"] == "The hotel is unavailable"
    assert (await stage.steps(booking))["hotel"].attempts == 2
    assert stage.record.tries("reserve", "hotel") == 5


# What travellers are told


SECRET = "https://trips:pa55word@hotels.example/reservations"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError(f"Cannot reach {SECRET}"), "The hotel supplier failed"),
        (ValueError(f"Bad answer of {SECRET}"), "The hotel supplier failed"),
        (KeyError("x" * 1_200_000), "The hotel supplier failed"),
        (OutcomeUnknown("No rooms! " * 120_000), ("No rooms! " * 50)[:499] + "…"),
    ],
    ids=["RuntimeError", "ValueError", "KeyError", "long"],
)
async def test_only_what_a_supplier_means_for_travellers_reaches_them(
    stage: Stage,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    said: str,
) -> None:
    async def fail(call: object) -> None:
        raise raised

    stage.breaks("reserve", "hotel", fail)
    failed = await stage.start(attempts=2)
    assert (await result_of(failed))["message"] == said
    hotel = (await stage.steps(failed))["hotel"]
    assert (hotel.attempts, hotel.last_error) == (2, said)
    assert SECRET not in str(await failed.fetch_history())
    assert str(raised)[:100] in caplog.text


async def test_a_supplier_that_never_answers_has_failed(empty_stage: Stage) -> None:
    policy = replace(IMPATIENT, try_timeout=0.2)
    async with empty_stage.worker(hotel_latency_seconds=3600):
        failed = await empty_stage.start(attempts=2, policy=policy)
        result = await result_of(failed)
    assert result["message"] == "The hotel supplier did not answer in time"
    assert (await empty_stage.steps(failed))["hotel"].attempts == 2


async def test_a_value_error_of_a_users_own_activity_is_final_and_cut(empty_stage: Stage) -> None:
    """The tutorial's activities raise it."""

    @activity.defn(name="book_hotel")
    async def refuse_at_length(book_input: BookVacationInput) -> str:
        raise ValueError("x" * 1_200_000)

    others = [each for each in ACTIVITIES if each is not activities.book_hotel]
    async with plain_worker(empty_stage, [*others, refuse_at_length]):
        booking = await empty_stage.start(attempts=5)
        assert (await result_of(booking))["message"] == "x" * 499 + "…"
    assert await empty_stage.held(booking) == []


def plain_worker(stage: Stage, activities: Sequence[Callable[..., Any]]) -> Worker:
    """Return a worker as the SDK makes it, with these activities."""
    return Worker(
        stage.client, task_queue=TASK_QUEUE_NAME, workflows=WORKFLOWS, activities=activities
    )


async def test_each_activity_of_a_trip_is_retried_for_ever_at_one_pace(stage: Stage) -> None:
    policy = replace(IMPATIENT, retry_interval=0.25, try_timeout=15.0, step_deadline=600.0)
    booking = await stage.start(policy=policy, book_flight_id="invalid")
    await result_of(booking)
    for event in await events(booking):
        if event.HasField("activity_task_scheduled_event_attributes"):
            asked = event.activity_task_scheduled_event_attributes
            assert asked.retry_policy.maximum_attempts == 0
            assert asked.retry_policy.backoff_coefficient == 1.0
            assert asked.retry_policy.initial_interval.ToMilliseconds() == 250
            assert asked.start_to_close_timeout.ToSeconds() == 2 * 15 + 60
            assert asked.heartbeat_timeout.ToSeconds() == IMPATIENT.heartbeat_timeout
