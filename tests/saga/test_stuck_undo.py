"""An undo that cannot succeed: the others still run, and an operator finds a way out."""

import asyncio
from collections import defaultdict
from dataclasses import replace

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHistory, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from record import Record, RecordBroken, RecordUnavailable, ReservationRefused
from run_worker import WORKFLOWS
from shared import KINDS, REFUSE_LATE_BOOKING, BookVacationInput, Kind
from suppliers import Refused
from tests.conftest import IMPATIENT, trip
from tests.faults import Call, FaultyRecord, Gate, at_first, down, refuse_for_good
from tests.trips import (
    BOOK_ALL,
    UNDO_ALL,
    Trip,
    cancelled_steps,
    events,
    held,
    resolve,
    result_of,
    retry,
    start,
    start_cancellation,
    status_shown,
    steps_by_kind,
    until,
    until_stuck,
)
from workflows import BookingWorkflow

LAST = KINDS[-1]

ROLLED_BACK = f"Invalid {LAST} booking, rolling back!"


def doomed() -> BookVacationInput:
    """Return a trip that fails at its last step and so is undone."""
    return trip(**{f"book_{LAST}_id": f"invalid-{LAST}-id"})


@pytest.mark.parametrize("kind", KINDS)
async def test_an_undo_that_fails_for_good_needs_attention_and_the_others_still_run(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = refuse_for_good
    stuck = await start(client, doomed())
    progress = await until_stuck(stuck, kind)
    assert progress.status == "needs_attention"
    assert await status_shown(stuck) == "needs_attention"
    for step in progress.steps:
        assert step.state == ("stuck" if step.kind == kind else "undone")
    step = next(step for step in progress.steps if step.kind == kind)
    assert (step.undo_attempts, step.last_error) == (1, f"The {kind} cannot be cancelled")
    assert await held(faults, stuck) == ([] if kind == LAST else [kind])
    await resolve(stuck, kind, "settled by telephone")
    assert (await result_of(stuck))["message"] == ROLLED_BACK


async def test_an_undo_that_outlives_its_attempts_is_stuck_until_it_is_retried(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = at_first(IMPATIENT.undo_attempts + 1, down)
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    assert faults.tries("cancel", "hotel") == IMPATIENT.undo_attempts
    assert (await retry(stuck, "hotel")).kind == "hotel"
    progress = await until(
        stuck, lambda steps: steps["hotel"].undo_attempts == 4 and steps["hotel"].state == "stuck"
    )
    assert progress.status == "needs_attention"
    assert progress.steps[1].last_error == "The record is down"
    assert await held(faults, stuck) == ["hotel"]
    await retry(stuck, "hotel")
    result = await result_of(stuck)
    hotel = steps_by_kind(result)["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 5)
    assert result["message"] == ROLLED_BACK
    assert await held(faults, stuck) == []
    assert await status_shown(stuck) == "rolled_back"


async def test_a_stuck_undo_is_tried_again_by_itself_after_its_interval(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts, down)
    healing = replace(doomed(), policy=replace(IMPATIENT, stuck_retry_interval=0.05))
    rolled_back = await start(client, healing)
    assert steps_by_kind(await result_of(rolled_back))["car"].undo_attempts == 4
    assert await held(faults, rolled_back) == []


async def test_the_own_retries_of_a_stuck_undo_are_single_tries_at_growing_intervals(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts + 3, down)
    rolled_back = await start(
        client, replace(doomed(), policy=replace(IMPATIENT, stuck_retry_interval=0.05))
    )
    steps = steps_by_kind(await result_of(rolled_back))
    assert steps["car"].undo_attempts == IMPATIENT.undo_attempts + 4
    timers = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToMilliseconds()
        for event in await events(rolled_back)
        if event.HasField("timer_started_event_attributes")
    ]
    assert timers == [50, 100, 200, 400]


async def test_a_resolved_undo_keeps_its_note_and_closes_the_trip(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    step = await resolve(stuck, "hotel", "The hotel waived it, case 42")
    assert (step.state, step.note) == ("resolved", "The hotel waived it, case 42")
    result = await result_of(stuck)
    assert result["message"] == ROLLED_BACK
    hotel = steps_by_kind(result)["hotel"]
    assert (hotel.state, hotel.note) == ("resolved", "The hotel waived it, case 42")
    assert hotel.last_error == "The hotel cannot be cancelled"
    assert faults.tries("cancel", "hotel") == 1


async def test_a_late_try_cannot_book_what_an_operator_has_resolved(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = late = Gate()
    faults.faults["cancel", "hotel"] = refuse_for_good
    policy = replace(IMPATIENT, try_timeout=0.2)
    stuck = await start(client, trip(attempts=1, policy=policy))
    await until_stuck(stuck, "hotel")
    await resolve(stuck, "hotel", "Nothing was booked, says the hotel")
    await result_of(stuck)
    (answer,) = await late.open()
    assert isinstance(answer, ReservationRefused)
    assert await held(faults, stuck) == []


async def test_a_resolved_trip_stays_open_until_late_bookings_are_refused(
    client: Client, faults: FaultyRecord, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    healing = replace(IMPATIENT, stuck_retry_interval=0.05, undo_attempts=1)
    stuck = await start(client, replace(doomed(), policy=healing))
    await until_stuck(stuck, "hotel")
    answers = [RecordBroken("No table"), RecordUnavailable("Away")]

    async def settle(trip: BookVacationInput, kind: Kind) -> None:
        if answers:
            raise answers.pop(0)
        await record.settle(trip, kind)

    monkeypatch.setattr(faults, "settle", settle)
    await resolve(stuck, "hotel", "settled")
    await result_of(stuck)
    assert not answers
    assert await held(faults, stuck) == []


async def test_each_activity_of_a_trip_is_as_patient_as_the_trips_policy_says(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    policy = replace(IMPATIENT, retry_interval=0.25, retry_interval_cap=0.75, undo_attempts=2)
    stuck = await start(client, replace(doomed(), policy=policy))
    await until_stuck(stuck, "hotel")
    await resolve(stuck, "hotel", "settled")
    await result_of(stuck)
    told: dict[str, tuple[float, ...]] = {}
    for event in await events(stuck):
        if event.HasField("activity_task_scheduled_event_attributes"):
            asked = event.activity_task_scheduled_event_attributes
            told[asked.activity_type.name] = (
                asked.retry_policy.initial_interval.ToTimedelta().total_seconds(),
                asked.retry_policy.maximum_interval.ToTimedelta().total_seconds(),
                asked.retry_policy.maximum_attempts,
                asked.start_to_close_timeout.ToTimedelta().total_seconds(),
                asked.heartbeat_timeout.ToTimedelta().total_seconds(),
            )
    assert told == {
        **dict.fromkeys(BOOK_ALL, (0.25, 0.75, 3, 15, 5)),
        **dict.fromkeys(UNDO_ALL, (0.25, 0.75, 2, 15, 5)),
        REFUSE_LATE_BOOKING: (0.25, 0.75, 0, 15, 0),
    }


async def test_a_trip_closes_only_when_every_stuck_undo_is_settled_each_in_its_own_way(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts, down)
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel", "car")
    assert (await resolve(stuck, "hotel", "waived")).note == "waived"
    assert (await resolve(stuck, "hotel", "another word")).note == "waived"
    assert (await until_stuck(stuck, "car")).status == "needs_attention"
    await retry(stuck, "car")
    result = await result_of(stuck)
    steps = steps_by_kind(result)
    assert (steps["hotel"].state, steps["hotel"].note) == ("resolved", "waived")
    assert (steps["car"].state, steps["car"].undo_attempts) == ("undone", 4)
    assert await held(faults, stuck) == []


async def test_the_web_ui_shows_the_steps_as_a_table_whatever_an_error_says(
    client: Client, faults: FaultyRecord
) -> None:
    async def refuse_at_length(call: Call) -> None:
        raise Refused("Hotel | closed\nfor good")

    faults.faults["cancel", "hotel"] = refuse_at_length
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    shown = await stuck.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    heading, rows = (lines := shown.current_details.splitlines())[:4], lines[4:]
    assert heading == [
        "**needs_attention**",
        "",
        "| step | state | tries | last error |",
        "|-|-|-|-|",
    ]
    assert len(rows) == len(KINDS)
    assert rows[0] == "| car | undone | 1 + 1 |  |"
    assert rows[1] == "| hotel | stuck | 1 + 1 | `Hotel` &#124; `closed for good` |"
    assert rows[-1] == f"| {LAST} | undone | 1 + 1 | `{ROLLED_BACK}` |"
    await resolve(stuck, "hotel", "settled")
    await result_of(stuck)


async def test_asking_twice_to_retry_retries_once(client: Client, faults: FaultyRecord) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    faults.faults["cancel", "hotel"] = gate = Gate()
    await retry(stuck, "hotel")
    await gate.reached()
    assert (await retry(stuck, "hotel")).state == "undoing"
    await gate.open()
    assert steps_by_kind(await result_of(stuck))["hotel"].undo_attempts == 2
    assert faults.tries("cancel", "hotel") == 2


async def test_a_retry_asked_while_other_undos_still_run_is_not_lost(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = gate = Gate()
    stuck = await start(client, doomed())
    await gate.reached()
    await until(stuck, lambda steps: steps["hotel"].state == "stuck")
    del faults.faults["cancel", "hotel"]
    assert (await retry(stuck, "hotel")).state == "stuck"
    await gate.open()
    assert steps_by_kind(await result_of(stuck))["hotel"].state == "undone"
    assert await held(faults, stuck) == []


@pytest.mark.parametrize(("kind", "state"), [("car", "booked"), ("hotel", "booking")])
async def test_an_undo_that_is_not_stuck_can_be_neither_retried_nor_resolved(
    client: Client, faults: FaultyRecord, kind: Kind, state: str
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    for ask in (retry(booking, kind), resolve(booking, kind, "no")):
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await ask
        assert isinstance(rejected.value.cause, ApplicationError)
        assert rejected.value.cause.type == "UndoNotStuck"
        assert rejected.value.cause.message == f"The {kind} is {state}; its undo is not stuck"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"


async def test_an_undone_step_cannot_be_resolved_and_its_retry_changes_nothing(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "car")
    with pytest.raises(WorkflowUpdateFailedError):
        await resolve(stuck, "hotel", "no need")
    assert (await retry(stuck, "hotel")).state == "undone"
    assert faults.tries("cancel", "hotel") == 1
    await resolve(stuck, "car", "settled")
    await result_of(stuck)


@pytest.mark.parametrize("update", ["retry_undo", "resolve_undo"])
async def test_an_unknown_kind_is_rejected_and_does_no_harm(
    client: Client, faults: FaultyRecord, update: str
) -> None:
    faults.faults["cancel", "car"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "car")
    arguments = ["boat"] if update == "retry_undo" else ["boat", "note"]
    with pytest.raises(WorkflowUpdateFailedError):
        await stuck.execute_update(update, args=arguments)
    await resolve(stuck, "car", "settled")
    await result_of(stuck)


@pytest.mark.parametrize("reason", ["rolled back", "cancelled"])
async def test_a_stuck_trip_is_not_closed_by_a_cancel(
    client: Client, faults: FaultyRecord, reason: str
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["reserve", LAST] = gate = Gate()
    stuck = await start(client, trip() if reason == "cancelled" else doomed())
    if reason == "cancelled":
        await gate.reached()
        await stuck.cancel()
    await until_stuck(stuck, "hotel")
    await stuck.cancel()
    assert (await until_stuck(stuck, "hotel")).status == "needs_attention"
    await resolve(stuck, "hotel", "settled")
    steps = await cancelled_steps(stuck)
    assert {kind: step.state for kind, step in steps.items()} == {
        kind: "resolved" if kind == "hotel" else "undone" for kind in KINDS
    }
    assert await status_shown(stuck) == "cancelled"
    await gate.open()
    assert await held(faults, stuck) == []


async def test_the_cancellation_of_a_booked_trip_can_be_stuck_and_settled_alike(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await start(client, trip())
    await result_of(booked)
    faults.faults["cancel", "flight"] = refuse_for_good
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts, down)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    await until_stuck(cancellation, "flight", "car")
    assert await status_shown(cancellation) == "needs_attention"
    await resolve(cancellation, "flight", "flown")
    await retry(cancellation, "car")
    result = await result_of(cancellation)
    assert result["status"] == "cancelled"
    assert steps_by_kind(result)["flight"].note == "flown"
    assert await held(faults, booked) == []


@pytest.mark.slow  # Of a patch the model's trips show it, too, by what their histories hold.
async def test_look_ups_while_an_undo_is_resolved_leave_a_history_that_replays(
    client: Client, faults: FaultyRecord
) -> None:
    """What is first asked right after a local activity, a patch say, would not always replay."""
    gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def refused_later(call: Call) -> None:
        await gates[call.trip_id].wait()
        await refuse_for_good(call)

    faults.faults["cancel", LAST] = refuse_for_good
    faults.faults["cancel", KINDS[-2]] = refused_later

    async def history_of_one() -> WorkflowHistory:
        booking = await start(client, doomed())
        await until(booking, lambda steps: steps[LAST].state == "stuck")
        await resolve(booking, LAST, "settled")
        looking = asyncio.create_task(look_up(booking))
        gates[booking.id].set()
        await until_stuck(booking, KINDS[-2])
        looking.cancel()
        history = await booking.fetch_history()
        await booking.terminate()
        return history

    async def look_up(booking: Trip) -> None:
        while True:
            await booking.query(BookingWorkflow.progress)

    for _ in range(2):
        for history in await asyncio.gather(*(history_of_one() for _ in range(8))):
            await Replayer(workflows=WORKFLOWS).replay_workflow(history)
