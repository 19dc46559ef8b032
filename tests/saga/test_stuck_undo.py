"""An undo that cannot succeed: the others still run, and an operator finds a way out."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from record import RecordBroken, RecordUnavailable, ReservationRefused
from shared import KINDS, BookVacationInput, Kind, StepState
from tests.conftest import IMPATIENT
from tests.faults import Gate, at_first, down, refuse_for_good, unavailable
from tests.saga.stage import DOOMED, LAST, ROLLED_BACK, Stage
from tests.trips import (
    Cancellation,
    Trip,
    cancelled,
    events,
    resolve_undo,
    result_of,
    retry_undo,
    until,
    until_stuck,
)


async def status_of(stage: Stage, booking: Trip) -> str:
    return (await stage.row(booking)).status


@pytest.mark.parametrize(
    "kind",
    ["car", pytest.param("hotel", marks=pytest.mark.shape("stuck_and_resolved")), "flight"],
)
async def test_an_undo_that_fails_for_good_needs_attention_and_the_others_still_run(
    stage: Stage, kind: Kind
) -> None:
    stuck = await stage.stuck(kind)
    assert await status_of(stage, stuck) == "needs_attention"
    steps = await stage.steps(stuck)
    for step in steps.values():
        assert step.state == ("stuck" if step.kind == kind else "undone")
    words = (steps[kind].undo_attempts, steps[kind].last_error)
    assert words == (1, f"The {kind} cannot be cancelled")
    assert await stage.held(stuck) == ([] if kind == LAST else [kind])
    await resolve_undo(stuck, kind, "settled by telephone")
    assert (await result_of(stuck))["message"] == ROLLED_BACK
    resolved = (await stage.steps(stuck))[kind]
    assert (resolved.state, resolved.note) == ("resolved", "settled by telephone")
    assert await stage.held(stuck) == []
    assert stage.record.tries("cancel", kind) == 1


async def test_what_is_not_the_suppliers_failure_does_not_make_an_undo_stuck(
    stage: Stage,
) -> None:
    stage.breaks("cancel", "hotel", at_first(3 * IMPATIENT.undo_attempts, down))
    undone = await stage.start(**DOOMED)
    assert (await result_of(undone))["message"] == ROLLED_BACK
    hotel = (await stage.steps(undone))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 1)


@pytest.mark.shape("undo_out_of_time")
async def test_an_undo_whose_every_try_is_lost_delays_no_other_and_becomes_stuck(
    stage: Stage, no_heartbeats: None
) -> None:
    booking = await stage.booked()
    gate = stage.breaks("cancel", "hotel", Gate())
    policy = replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=1.0, trip_deadline=1.0)
    cancellation = await stage.cancellation(booking, policy=policy)
    await gate.reached(calls=2)
    await until(cancellation, lambda steps: steps["car"] == "undone")
    assert await status_of(stage, booking) == "running"
    await until_stuck(cancellation, "hotel")
    assert await status_of(stage, booking) == "needs_attention"
    hotel = (await stage.steps(booking))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("stuck", 0)
    assert hotel.last_error == "The supplier did not answer in time"
    await resolve_undo(cancellation, "hotel", "settled")
    assert (await result_of(cancellation))["status"] == "cancelled"
    await gate.open()
    assert await stage.held(booking) == []


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(["hotel"], marks=pytest.mark.shape("stuck_and_retried_by_itself")),
        pytest.param(
            ["hotel", "car"], marks=pytest.mark.shape("stuck_twice_and_retried_by_itself")
        ),
    ],
)
async def test_stuck_undos_are_tried_again_by_themselves_once_each_time_at_growing_intervals(
    stage: Stage, kinds: list[Kind]
) -> None:
    for kind in kinds:
        stage.breaks("cancel", kind, at_first(IMPATIENT.undo_attempts + 1, unavailable))
    rolled_back = await stage.start(**DOOMED, policy=replace(IMPATIENT, stuck_retry_interval=0.05))
    await result_of(rolled_back)
    steps = await stage.steps(rolled_back)
    for kind in kinds:
        step = steps[kind]
        assert (step.state, step.undo_attempts) == ("undone", IMPATIENT.undo_attempts + 2)
    timers = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToMilliseconds()
        for event in await events(rolled_back)
        if event.HasField("timer_started_event_attributes")
    ]
    assert sorted(timers) == sorted([50, 100] * len(kinds))
    assert await stage.held(rolled_back) == []


async def test_a_late_try_cannot_book_what_an_operator_has_resolved(stage: Stage) -> None:
    late = stage.breaks("reserve", "hotel", Gate())
    stage.breaks("cancel", "hotel", refuse_for_good)
    stuck = await stage.start(policy=replace(IMPATIENT, step_deadline=1.0))
    await until_stuck(stuck, "hotel")
    await resolve_undo(stuck, "hotel", "Nothing was booked, says the hotel")
    await result_of(stuck)
    (answer,) = await late.open()
    assert isinstance(answer, ReservationRefused)
    assert await stage.held(stuck) == []


async def test_an_operators_word_is_answered_once_it_is_recorded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While it waits for the record, the undo is not tried again.
    stuck = await stage.stuck("hotel", policy=replace(IMPATIENT, stuck_retry_interval=0.5))
    write, tried, answers = stage.record.reservations.resolve, asyncio.Event(), asyncio.Event()

    async def resolve(trip: BookVacationInput, kind: Kind, note: str) -> None:
        if not answers.is_set():
            first = not tried.is_set()
            tried.set()
            raise RecordBroken("No table") if first else RecordUnavailable("Away")
        await write(trip, kind, note)

    monkeypatch.setattr(stage.record.reservations, "resolve", resolve)
    asking = asyncio.create_task(resolve_undo(stuck, "hotel", "settled"))
    await tried.wait()
    assert not asking.done()
    assert (await stage.steps(stuck))["hotel"].state == "stuck"
    answers.set()
    await asking
    hotel = (await stage.steps(stuck))["hotel"]
    assert (hotel.state, hotel.note) == ("resolved", "settled")
    await result_of(stuck)
    assert await stage.held(stuck) == []


def settled(shape: str, ending: str, **repairs: str) -> object:
    return pytest.param(ending, repairs, marks=pytest.mark.shape(shape), id=shape)


@pytest.mark.parametrize(
    ("ending", "repairs"),
    [
        settled("stuck_twice_resolved", "rolled_back", hotel="resolve", car="resolve"),
        settled("stuck_twice_retried", "rolled_back", hotel="retry", car="retry"),
        settled("stuck_twice_retried_and_resolved", "rolled_back", car="retry", hotel="resolve"),
        settled("stuck_twice_and_cancelled", "cancelled", car="resolve", hotel="retry"),
        settled("cancellation_stuck_twice", "booked and cancelled", car="resolve", flight="retry"),
    ],
)
async def test_a_trip_closes_only_when_every_stuck_undo_is_settled_each_in_its_own_way(
    stage: Stage, ending: str, repairs: dict[Kind, str]
) -> None:
    stuck: Trip | Cancellation
    if ending == "booked and cancelled":
        booking = await stage.booked()
        for kind in repairs:
            stage.breaks("cancel", kind, refuse_for_good)
        stuck = await stage.cancellation(booking)
        await until_stuck(stuck, *repairs)
    else:
        stuck = booking = await stage.stuck(*repairs)
    if ending == "cancelled":
        await booking.cancel()
    for kind, repair in repairs.items():
        assert await status_of(stage, booking) == "needs_attention"
        if repair == "resolve":
            await resolve_undo(stuck, kind, "waived")
            if kind != list(repairs)[-1]:  # Else the trip has closed.
                await resolve_undo(stuck, kind, "another word")
        else:
            del stage.record.faults["cancel", kind]
            await retry_undo(stuck, kind)
            await until(stuck, partial(is_undone, kind))
    await (cancelled(booking) if ending == "cancelled" else result_of(stuck))
    steps = await stage.steps(booking)
    for kind, repair in repairs.items():
        told = ("resolved", "waived") if repair == "resolve" else ("undone", None)
        assert (steps[kind].state, steps[kind].note) == told
    assert await status_of(stage, booking) == ending.split()[-1]
    assert await stage.held(booking) == []


def is_undone(kind: Kind, steps: dict[Kind, StepState]) -> bool:
    return steps[kind] == "undone"


@pytest.mark.shape("stuck_and_retried")
async def test_asking_twice_to_retry_retries_once(stage: Stage) -> None:
    stuck = await stage.stuck("hotel")
    gate = stage.breaks("cancel", "hotel", Gate())
    await retry_undo(stuck, "hotel")
    await gate.reached()
    await retry_undo(stuck, "hotel")
    await gate.open()
    await result_of(stuck)
    assert stage.record.tries("cancel", "hotel") == 2


async def test_a_retry_asked_while_other_undos_still_run_is_not_lost(stage: Stage) -> None:
    stage.breaks("cancel", "hotel", refuse_for_good)
    stuck, gate = await stage.at_gate("cancel", "car", **DOOMED)
    await until(stuck, lambda steps: steps["hotel"] == "stuck")
    del stage.record.faults["cancel", "hotel"]
    await retry_undo(stuck, "hotel")
    await gate.open()
    await result_of(stuck)
    assert (await stage.steps(stuck))["hotel"].state == "undone"
    assert await stage.held(stuck) == []


async def test_an_undo_that_is_not_stuck_can_be_neither_retried_nor_resolved(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "hotel")
    for ask in (retry_undo(booking, "hotel"), resolve_undo(booking, "hotel", "no")):
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await ask
        assert isinstance(rejected.value.cause, ApplicationError)
        assert rejected.value.cause.type == "UndoNotStuck"
        assert rejected.value.cause.message == "The hotel is booking; its undo is not stuck"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param("rolled back", marks=pytest.mark.shape("stuck_and_cancelled")),
        pytest.param("cancelled", marks=pytest.mark.shape("cancelled_while_one_is_stuck")),
    ],
)
async def test_a_stuck_trip_is_not_closed_by_a_cancel(stage: Stage, reason: str) -> None:
    stage.breaks("cancel", "hotel", refuse_for_good)
    gate = stage.breaks("reserve", LAST, Gate())
    stuck = await stage.start(**({} if reason == "cancelled" else DOOMED))
    if reason == "cancelled":
        await gate.reached()
        await stuck.cancel()
    await until_stuck(stuck, "hotel")
    await stuck.cancel()
    await until_stuck(stuck, "hotel")
    assert await status_of(stage, stuck) == "needs_attention"
    await resolve_undo(stuck, "hotel", "settled")
    await cancelled(stuck)
    states = {kind: step.state for kind, step in (await stage.steps(stuck)).items()}
    assert states == {kind: "resolved" if kind == "hotel" else "undone" for kind in KINDS}
    assert await status_of(stage, stuck) == "cancelled"
    await gate.open()
    assert await stage.held(stuck) == []
