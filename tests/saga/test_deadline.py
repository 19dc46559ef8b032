"""A trip's own deadline: what is not booked by then is undone, and says so. A reset lifts it."""

import datetime as dt
from dataclasses import replace

import pytest

from shared import KINDS, SagaPolicy
from tests.conftest import IMPATIENT
from tests.faults import Gate, activity_half, workflow_half
from tests.saga.stage import DOOMED, Stage
from tests.trips import (
    UNDO_ALL,
    Trip,
    activities_of,
    cancelled,
    eventually,
    replay,
    reset_to,
    result_of,
)

OVERDUE = "The trip could not be booked in time"


def within(seconds: float) -> SagaPolicy:
    return replace(IMPATIENT, trip_deadline=seconds)


async def past(deadline: float, booking: Trip) -> None:
    """Wait until the trip is older than so many seconds."""
    began = (await booking.describe()).start_time

    async def passed() -> bool:
        return dt.datetime.now(dt.UTC) > began + dt.timedelta(seconds=deadline + 0.1)

    await eventually(passed)


@pytest.mark.shape("overdue_at_its_start")
async def test_a_trip_that_waited_too_long_for_a_worker_is_not_booked(empty_stage: Stage) -> None:
    booking = await empty_stage.start(policy=within(0.2))
    await past(0.2, booking)
    async with empty_stage.worker():
        assert await result_of(booking) == {"status": "failure", "message": OVERDUE}
    assert await activities_of(booking) == []
    row = await empty_stage.row(booking)
    assert (row.status, row.reason) == ("rolled_back", OVERDUE)


@pytest.mark.shape("overdue_in_a_step")
async def test_a_step_gets_no_more_time_than_the_trip_has_left(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "hotel", policy=within(1.5))
    assert await result_of(booking) == {"status": "failure", "message": OVERDUE}
    await gate.open()
    assert await stage.held(booking) == []


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(0, marks=pytest.mark.shape("reset_to_its_start_past_its_deadline")),
        pytest.param(1, marks=pytest.mark.shape("reset_past_its_deadline")),
    ],
)
async def test_a_running_trip_that_is_reset_has_no_deadline(empty_stage: Stage, task: int) -> None:
    async with empty_stage.worker():
        booking, gate = await empty_stage.at_gate("reserve", "hotel", policy=within(2.0))
    await gate.open()
    await past(2.0, booking)
    again = await reset_to(empty_stage.client, booking, task)
    async with empty_stage.worker():
        assert (await result_of(again))["status"] == "success"
    assert await empty_stage.held(booking) == list(KINDS)
    await replay(empty_stage.client, again)


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(0, marks=pytest.mark.shape("reset_to_its_start")),
        pytest.param(1, marks=pytest.mark.shape("reset_when_booked")),
        pytest.param(-1, marks=pytest.mark.shape("reset_to_its_end")),
    ],
)
async def test_a_booked_trip_that_is_reset_stays_booked(stage: Stage, task: int) -> None:
    booking = await stage.booked()
    before = await stage.record.reservations.of(booking.id)
    again = await reset_to(stage.client, booking, task)
    assert (await result_of(again))["status"] == "success"
    assert await stage.record.reservations.of(booking.id) == before
    (row,) = await stage.record.trips.page(100)
    assert (row.trip_id, row.status) == (booking.id, "booked")
    await replay(stage.client, again)


async def test_a_trip_that_was_overdue_ends_the_same_when_its_end_is_replayed_after_a_reset(
    empty_stage: Stage,
) -> None:
    client = empty_stage.client
    async with activity_half(client):
        async with workflow_half(client):
            booking, gate = await empty_stage.at_gate("reserve", "car", policy=within(1.5))
        await gate.open()
        await past(1.5, booking)
    async with empty_stage.worker():
        assert (await result_of(booking))["message"] == OVERDUE
        again = await reset_to(client, booking, -1)
        assert (await result_of(again))["message"] == OVERDUE
        await replay(client, again)


@pytest.mark.shape("reset_in_undo")
async def test_a_trip_that_is_reset_in_the_middle_of_its_undo_undoes_everything(
    stage: Stage,
) -> None:
    booking = await stage.start(**DOOMED)
    await result_of(booking)
    for _ in range(2):
        # To the task that heard that the flight is undone, and has the hotel undone.
        again = await reset_to(stage.client, booking, 4)
        assert (await result_of(again))["status"] == "failure"
        assert [name for name in await activities_of(again) if name in UNDO_ALL] == UNDO_ALL
        await replay(stage.client, again)
    assert await stage.held(booking) == []


@pytest.mark.shape("reset_and_cancelled")
async def test_what_a_trip_had_begun_before_its_reset_is_undone_too(stage: Stage) -> None:
    """Its run before had come further than the run that goes back now."""
    booking = await stage.booked()
    gate = stage.breaks("reserve", "hotel", Gate())
    again = await reset_to(stage.client, booking, 1)
    await gate.reached()
    await again.cancel()
    await cancelled(again)
    await gate.open()
    assert await stage.held(booking) == []
    await replay(stage.client, again)
