"""How long each step took: told by the workflow, by the clock of its history."""

import datetime as dt
from dataclasses import replace

import pytest
from temporalio.client import Client

from record import Record
from saga import Stopwatch
from shared import KINDS, StepProgress, StepState
from suppliers import Pending
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate, at_first, down, refuse_for_good
from tests.suppliers.script import QUICK, working_with
from tests.trips import (
    cancelled_steps,
    reset,
    resolve,
    result_of,
    retry,
    start,
    start_cancellation,
    steps_by_kind,
    until,
    until_stuck,
    workflow_tasks,
)
from workflows import BookingWorkflow

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)

Moves = list[tuple[StepState, float]]
"""States of a step, and after how many seconds it was taken to each."""


def moved(moves: Moves, so_far: StepProgress | None = None) -> StepProgress:
    step = so_far or StepProgress("hotel", "item")
    stopwatch = Stopwatch()
    for state, seconds in moves:
        stopwatch.move(step, state, NOON + dt.timedelta(seconds=seconds))
    return step


@pytest.mark.parametrize(
    ("moves", "booking", "undo"),
    [
        ([("booking", 1)], None, None),
        ([("booking", 1), ("booked", 3.5004)], 2.5, None),
        ([("booking", 1), ("failed", 3)], 2.0, None),
        ([("booking", 1), ("booking", 10), ("booked", 21)], 20.0, None),
        ([("booking", 1), ("failed", 2), ("booking", 10)], None, None),
        ([("booking", 1), ("booked", 3), ("undoing", 10)], 2.0, None),
        ([("booking", 1), ("booked", 3), ("undoing", 10), ("undone", 14)], 2.0, 4.0),
        ([("booking", 1), ("undoing", 10), ("undone", 14)], None, 4.0),
        ([("undoing", 0), ("undone", 0)], None, 0.0),
        ([("undoing", 1), ("stuck", 5)], None, None),
        ([("undoing", 1), ("stuck", 5), ("undoing", 50)], None, None),
        ([("undoing", 1), ("stuck", 5), ("undoing", 50), ("undone", 61)], None, 60.0),
        ([("undoing", 1), ("stuck", 5), ("resolved", 31)], None, 30.0),
        ([("resolved", 31)], None, None),
        ([("booking", 1), ("booked", 0.5)], 0.0, None),
    ],
    ids=lambda value: "-".join(state for state, _ in value) if isinstance(value, list) else "",
)
def test_a_step_takes_from_its_first_try_to_its_end(
    moves: Moves, booking: float | None, undo: float | None
) -> None:
    step = moved(moves)
    assert (step.booking_seconds, step.undo_seconds) == (booking, undo)
    assert step.state == moves[-1][0]


def test_an_undo_that_is_begun_anew_by_another_workflow_takes_its_own_time() -> None:
    so_far = StepProgress("hotel", "item", "undone", booking_seconds=2.0, undo_seconds=4.0)
    assert moved([("undoing", 1)], replace(so_far)).undo_seconds is None
    again = moved([("undoing", 1), ("undone", 2)], replace(so_far))
    assert (again.booking_seconds, again.undo_seconds) == (2.0, 1.0)


async def test_a_booking_takes_all_its_tries_and_waits(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = at_first(1, down)
    policy = replace(IMPATIENT, retry_interval=0.3, retry_interval_cap=0.3)
    steps = steps_by_kind(await result_of(await start(client, trip(policy=policy))))
    for kind, step in steps.items():
        assert step.booking_seconds is not None
        # A timer may be a moment early.
        assert step.booking_seconds >= (0.25 if kind == "hotel" else 0)
        assert step.undo_seconds is None


async def test_a_booking_takes_the_time_in_which_its_supplier_decides(
    client: Client, record: Record
) -> None:
    async with working_with(client, record) as hotels:
        hotels.says(Pending(0.3), QUICK)
        hotel = steps_by_kind(await result_of(await start(client, trip())))["hotel"]
    assert hotel.booking_seconds is not None and hotel.booking_seconds >= 0.25


async def test_a_rolled_back_trip_tells_the_times_of_what_was_begun(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = at_first(1, down)
    policy = replace(IMPATIENT, retry_interval=0.3, retry_interval_cap=0.3)
    failed = await start(client, trip(book_hotel_id="invalid-hotel-id", policy=policy))
    steps = steps_by_kind(await result_of(failed))
    car, hotel, flight = (steps[kind] for kind in KINDS[:3])
    assert car.undo_seconds is not None and car.undo_seconds >= 0.25
    assert hotel.undo_seconds is not None and hotel.undo_seconds >= 0
    assert hotel.booking_seconds is not None and hotel.booking_seconds >= 0
    assert (flight.booking_seconds, flight.undo_seconds) == (None, None)


async def test_what_is_under_way_has_no_time_and_what_a_cancel_stops_gets_none(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    steps = {
        step.kind: step
        for step in (await until(booking, lambda now: now["hotel"].state == "booking")).steps
    }
    assert steps["car"].booking_seconds is not None
    assert steps["hotel"].booking_seconds is None
    await booking.cancel()
    cancelled = await cancelled_steps(booking)
    await gate.open()
    assert cancelled["hotel"].booking_seconds is None
    assert cancelled["hotel"].undo_seconds is not None
    assert cancelled["car"].booking_seconds == steps["car"].booking_seconds


@pytest.mark.parametrize("way_out", ["retry", "resolve"])
async def test_a_stuck_undo_has_no_time_and_a_settled_one_has_that_in_which_it_was_stuck_too(
    client: Client, faults: FaultyRecord, way_out: str
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await start(client, trip(book_flight_id="invalid-flight-id"))
    steps = {step.kind: step for step in (await until_stuck(stuck, "hotel")).steps}
    assert steps["hotel"].undo_seconds is None
    # While the hotel is stuck, the car is undone.
    assert steps["car"].undo_seconds is not None
    if way_out == "retry":
        del faults.faults["cancel", "hotel"]
        await retry(stuck, "hotel")
    else:
        await resolve(stuck, "hotel", "settled")
    hotel = steps_by_kind(await result_of(stuck))["hotel"]
    assert hotel.undo_seconds is not None
    assert hotel.undo_seconds >= steps["car"].undo_seconds
    assert hotel.booking_seconds == steps["hotel"].booking_seconds


async def test_a_cancellation_keeps_how_long_the_booking_took(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await start(client, trip())
    before = steps_by_kind(await result_of(booked))
    again = trip(book_user_id=booked.id)
    cancellation = await start_cancellation(client, again, list(before.values()))
    for kind, step in steps_by_kind(await result_of(cancellation)).items():
        assert step.booking_seconds == before[kind].booking_seconds is not None
        assert step.undo_seconds is not None and step.undo_seconds >= 0


async def test_a_run_that_was_reset_keeps_the_times_of_what_it_replays(
    client: Client, faults: FaultyRecord
) -> None:
    first = await start(client, trip())
    before = steps_by_kind(await result_of(first))
    # The task that is done again is the one that hears that the hotel is booked.
    await reset(client, first, (await workflow_tasks(first))[2])
    again = client.get_workflow_handle_for(BookingWorkflow.run, first.id)
    steps = steps_by_kind(await result_of(again))
    assert steps["car"].booking_seconds == before["car"].booking_seconds
    for step in steps.values():
        assert step.booking_seconds is not None and step.booking_seconds >= 0
