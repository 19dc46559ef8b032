"""An undo that cannot succeed: the others still run, and an operator finds a way out."""

import asyncio
from dataclasses import replace

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from record import RecordBroken, RecordUnavailable, ReservationRefused
from shared import KINDS, BookVacationInput, Kind
from tests.conftest import IMPATIENT, trip
from tests.faults import (
    FaultyRecord,
    Gate,
    at_first,
    down,
    refuse_for_good,
    unavailable,
)
from tests.trips import (
    Trip,
    cancelled,
    events,
    eventually,
    held,
    resolve_undo,
    result_of,
    retry_undo,
    start,
    start_cancellation,
    steps_of,
    until,
    until_stuck,
)

LAST = KINDS[-1]

ROLLED_BACK = f"Invalid {LAST} booking, rolling back!"


def doomed() -> BookVacationInput:
    """Return a trip that fails at its last step and so is undone."""
    return trip(**{f"book_{LAST}_id": f"invalid-{LAST}-id"})


async def status_of(faults: FaultyRecord, trip: Trip) -> str:
    row = await faults.trips.by_id(trip.id)
    assert row is not None
    return row.status


@pytest.mark.parametrize("kind", KINDS)
async def test_an_undo_that_fails_for_good_needs_attention_and_the_others_still_run(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, kind)
    assert await status_of(faults, stuck) == "needs_attention"
    steps = await steps_of(faults, stuck)
    for step in steps.values():
        assert step.state == ("stuck" if step.kind == kind else "undone")
    words = (steps[kind].undo_attempts, steps[kind].last_error)
    assert words == (1, f"The {kind} cannot be cancelled")
    assert await held(faults, stuck) == ([] if kind == LAST else [kind])
    await resolve_undo(stuck, kind, "settled by telephone")
    assert (await result_of(stuck))["message"] == ROLLED_BACK
    resolved = (await steps_of(faults, stuck))[kind]
    assert (resolved.state, resolved.note) == ("resolved", "settled by telephone")
    assert await held(faults, stuck) == []
    assert faults.tries("cancel", kind) == 1


async def test_an_undo_that_outlives_its_attempts_is_stuck_until_it_is_retried(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = at_first(IMPATIENT.undo_attempts + 1, unavailable)
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    assert faults.tries("cancel", "hotel") == IMPATIENT.undo_attempts
    await retry_undo(stuck, "hotel")
    await eventually(lambda: tried_again(faults, stuck, 4))
    await until_stuck(stuck, "hotel")
    hotel = (await steps_of(faults, stuck))["hotel"]
    assert (hotel.undo_attempts, hotel.last_error) == (4, "The hotel is unavailable")
    assert await held(faults, stuck) == ["hotel"]
    await retry_undo(stuck, "hotel")
    assert (await result_of(stuck))["message"] == ROLLED_BACK
    hotel = (await steps_of(faults, stuck))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 5)
    assert await held(faults, stuck) == []
    assert await status_of(faults, stuck) == "rolled_back"


async def tried_again(faults: FaultyRecord, booking: Trip, failures: int) -> bool:
    """Tell whether the supplier has failed to undo the hotel so often, and the undo is stuck."""
    hotel = (await steps_of(faults, booking))["hotel"]
    return (hotel.state, hotel.undo_attempts) == ("stuck", failures)


async def test_what_is_not_the_suppliers_failure_does_not_make_an_undo_stuck(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = at_first(5 * IMPATIENT.undo_attempts, down)
    undone = await start(client, doomed())
    assert (await result_of(undone))["message"] == ROLLED_BACK
    hotel = (await steps_of(faults, undone))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("undone", 1)


async def test_an_undo_whose_every_try_is_lost_delays_no_other_and_becomes_stuck(
    client: Client, faults: FaultyRecord, no_heartbeats: None
) -> None:
    booking = await start(client, trip())
    await result_of(booking)
    faults.faults["cancel", "hotel"] = gate = Gate()
    await faults.trips.begin_cancellation(booking.id)
    policy = replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=1.0, trip_deadline=2.0)
    again = trip(book_user_id=booking.id, policy=policy)
    cancellation = await start_cancellation(client, again)
    await gate.reached(calls=2)
    await until(cancellation, lambda steps: steps["car"] == "undone")
    assert await status_of(faults, booking) == "running"
    await until_stuck(cancellation, "hotel")
    assert await status_of(faults, booking) == "needs_attention"
    hotel = (await steps_of(faults, booking))["hotel"]
    assert (hotel.state, hotel.undo_attempts) == ("stuck", 0)
    assert hotel.last_error == "The supplier did not answer in time"
    faults.faults.clear()
    await retry_undo(cancellation, "hotel")
    assert (await result_of(cancellation))["status"] == "cancelled"
    await gate.open()
    assert await held(faults, booking) == []


async def test_a_stuck_undo_is_tried_again_by_itself_once_each_time_at_growing_intervals(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts + 3, unavailable)
    policy = replace(IMPATIENT, stuck_retry_interval=0.05)
    rolled_back = await start(client, replace(doomed(), policy=policy))
    await result_of(rolled_back)
    car = (await steps_of(faults, rolled_back))["car"]
    assert (car.state, car.undo_attempts) == ("undone", IMPATIENT.undo_attempts + 4)
    timers = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToMilliseconds()
        for event in await events(rolled_back)
        if event.HasField("timer_started_event_attributes")
    ]
    assert timers == [50, 100, 200, 400]
    assert await held(faults, rolled_back) == []


async def test_a_late_try_cannot_book_what_an_operator_has_resolved(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = late = Gate()
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await start(client, trip(policy=replace(IMPATIENT, step_deadline=1.0)))
    await until_stuck(stuck, "hotel")
    await resolve_undo(stuck, "hotel", "Nothing was booked, says the hotel")
    await result_of(stuck)
    (answer,) = await late.open()
    assert isinstance(answer, ReservationRefused)
    assert await held(faults, stuck) == []


async def test_an_operators_word_is_answered_once_it_is_recorded(
    client: Client, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    # While it waits for the record, the undo is not tried again.
    stuck = await start(
        client, replace(doomed(), policy=replace(IMPATIENT, stuck_retry_interval=0.5))
    )
    await until_stuck(stuck, "hotel")
    write, tried, answers = faults.reservations.resolve, asyncio.Event(), asyncio.Event()

    async def resolve(trip: BookVacationInput, kind: Kind, note: str) -> None:
        if not answers.is_set():
            first = not tried.is_set()
            tried.set()
            raise RecordBroken("No table") if first else RecordUnavailable("Away")
        await write(trip, kind, note)

    monkeypatch.setattr(faults.reservations, "resolve", resolve)
    asking = asyncio.create_task(resolve_undo(stuck, "hotel", "settled"))
    await tried.wait()
    assert not asking.done()
    assert (await steps_of(faults, stuck))["hotel"].state == "stuck"
    answers.set()
    await asking
    hotel = (await steps_of(faults, stuck))["hotel"]
    assert (hotel.state, hotel.note) == ("resolved", "settled")
    await result_of(stuck)
    assert await held(faults, stuck) == []


async def test_a_trip_closes_only_when_every_stuck_undo_is_settled_each_in_its_own_way(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts, unavailable)
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel", "car")
    await resolve_undo(stuck, "hotel", "waived")
    await resolve_undo(stuck, "hotel", "another word")
    await until_stuck(stuck, "car")
    assert await status_of(faults, stuck) == "needs_attention"
    await retry_undo(stuck, "car")
    await result_of(stuck)
    steps = await steps_of(faults, stuck)
    assert (steps["hotel"].state, steps["hotel"].note) == ("resolved", "waived")
    assert (steps["car"].state, steps["car"].undo_attempts) == ("undone", 4)
    assert await held(faults, stuck) == []


async def test_asking_twice_to_retry_retries_once(client: Client, faults: FaultyRecord) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "hotel")
    faults.faults["cancel", "hotel"] = gate = Gate()
    await retry_undo(stuck, "hotel")
    await gate.reached()
    await retry_undo(stuck, "hotel")
    await gate.open()
    await result_of(stuck)
    assert faults.tries("cancel", "hotel") == 2


async def test_a_retry_asked_while_other_undos_still_run_is_not_lost(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = gate = Gate()
    stuck = await start(client, doomed())
    await gate.reached()
    await until(stuck, lambda steps: steps["hotel"] == "stuck")
    del faults.faults["cancel", "hotel"]
    await retry_undo(stuck, "hotel")
    await gate.open()
    await result_of(stuck)
    assert (await steps_of(faults, stuck))["hotel"].state == "undone"
    assert await held(faults, stuck) == []


@pytest.mark.parametrize(("kind", "state"), [("car", "booked"), ("hotel", "booking")])
async def test_an_undo_that_is_not_stuck_can_be_neither_retried_nor_resolved(
    client: Client, faults: FaultyRecord, kind: Kind, state: str
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    for ask in (retry_undo(booking, kind), resolve_undo(booking, kind, "no")):
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await ask
        assert isinstance(rejected.value.cause, ApplicationError)
        assert rejected.value.cause.type == "UndoNotStuck"
        assert rejected.value.cause.message == f"The {kind} is {state}; its undo is not stuck"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"


async def test_an_update_that_makes_no_sense_does_no_harm(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = refuse_for_good
    stuck = await start(client, doomed())
    await until_stuck(stuck, "car")
    with pytest.raises(WorkflowUpdateFailedError):
        await resolve_undo(stuck, "hotel", "no need")
    for update, arguments in (("retry_undo", ["boat"]), ("resolve_undo", ["boat", "note"])):
        with pytest.raises(WorkflowUpdateFailedError):
            await stuck.execute_update(update, args=arguments)
    await retry_undo(stuck, "hotel")
    assert faults.tries("cancel", "hotel") == 1, "It is undone already"
    await resolve_undo(stuck, "car", "settled")
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
    await until_stuck(stuck, "hotel")
    assert await status_of(faults, stuck) == "needs_attention"
    await resolve_undo(stuck, "hotel", "settled")
    await cancelled(stuck)
    states = {kind: step.state for kind, step in (await steps_of(faults, stuck)).items()}
    assert states == {kind: "resolved" if kind == "hotel" else "undone" for kind in KINDS}
    assert await status_of(faults, stuck) == "cancelled"
    await gate.open()
    assert await held(faults, stuck) == []


async def test_the_cancellation_of_a_booked_trip_can_be_stuck_and_settled_alike(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await start(client, trip())
    await result_of(booked)
    faults.faults["cancel", "flight"] = refuse_for_good
    faults.faults["cancel", "car"] = at_first(IMPATIENT.undo_attempts, unavailable)
    await faults.trips.begin_cancellation(booked.id)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    await until_stuck(cancellation, "flight", "car")
    assert await status_of(faults, booked) == "needs_attention"
    await resolve_undo(cancellation, "flight", "flown")
    await retry_undo(cancellation, "car")
    assert (await result_of(cancellation))["status"] == "cancelled"
    assert (await steps_of(faults, booked))["flight"].note == "flown"
    assert await held(faults, booked) == []
