"""A trip's own deadline: what is not booked by then is undone, and says so. A reset lifts it."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate, activity_half, workflow_half
from tests.trips import (
    UNDO_ALL,
    Trip,
    activities_of,
    cancelled,
    eventually,
    held,
    replay,
    reset_to,
    result_of,
    start,
)
from tests.workers import running_worker, work_with

OVERDUE = "The trip could not be booked in time"


async def past(deadline: float, booking: Trip) -> None:
    """Wait until the trip is older than so many seconds."""
    began = (await booking.describe()).start_time

    async def passed() -> bool:
        return dt.datetime.now(dt.UTC) > began + dt.timedelta(seconds=deadline + 0.1)

    await eventually(passed)


def hasty(seconds: float, **changes: Any) -> Any:
    return trip(policy=replace(IMPATIENT, trip_deadline=seconds), **changes)


async def test_a_trip_that_waited_too_long_for_a_worker_is_not_booked(
    client: Client, record: Record
) -> None:
    booking = await start(client, hasty(0.2))
    await past(0.2, booking)
    async with running_worker(client, record):
        assert await result_of(booking) == {"status": "failure", "message": OVERDUE}
    assert await activities_of(booking) == []
    row = await record.trips.by_id(booking.id)
    assert row is not None and (row.status, row.reason) == ("rolled_back", OVERDUE)


async def test_a_step_gets_no_more_time_than_the_trip_has_left(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    booking = await start(client, hasty(1.5))
    assert await result_of(booking) == {"status": "failure", "message": OVERDUE}
    await gate.open()
    assert await held(faults, booking) == []


async def test_a_supplier_that_refuses_in_time_is_the_reason_even_if_the_undo_is_late(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = gate = Gate()
    # Long enough for the supplier to refuse on any machine.
    booking = await start(client, hasty(3.0, book_hotel_id="invalid-hotel-id"))
    await gate.reached()
    await past(3.0, booking)
    await gate.open()
    assert (await result_of(booking))["message"] == "Invalid hotel booking, rolling back!"


@pytest.mark.parametrize("task", [0, 1], ids=["its start", "a later moment"])
async def test_a_running_trip_that_is_reset_has_no_deadline(
    client: Client, record: Record, task: int
) -> None:
    faults = FaultyRecord(record)
    faults.faults["reserve", "hotel"] = gate = Gate()
    async with running_worker(client, faults):
        booking = await start(client, hasty(3.0))
        await gate.reached()
    await gate.open()
    await past(3.0, booking)
    again = await reset_to(client, booking, task)
    async with running_worker(client, record):
        assert (await result_of(again))["status"] == "success"
    assert await held(record, booking) == list(KINDS)
    await replay(client, again)


@pytest.mark.parametrize("task", [0, 1, -1])
async def test_a_booked_trip_that_is_reset_after_its_deadline_stays_booked(
    client: Client, faults: FaultyRecord, task: int
) -> None:
    booking = await start(client, hasty(2.0))
    await result_of(booking)
    await past(2.0, booking)
    before = await faults.reservations.of(booking.id)
    again = await reset_to(client, booking, task)
    assert (await result_of(again))["status"] == "success"
    assert await faults.reservations.of(booking.id) == before
    (row,) = await faults.trips.page(100)
    assert (row.trip_id, row.status) == (booking.id, "booked")
    await replay(client, again)


async def test_a_trip_that_was_overdue_ends_the_same_when_its_end_is_replayed_after_a_reset(
    client: Client, record: Record
) -> None:
    faults = FaultyRecord(record)
    work_with(faults)
    faults.faults["reserve", "car"] = gate = Gate()
    booking = await start(client, hasty(1.5))
    async with activity_half(client):
        async with workflow_half(client):
            await gate.reached()
        await gate.open()
        await past(1.5, booking)
    async with running_worker(client, faults):
        assert (await result_of(booking))["message"] == OVERDUE
        again = await reset_to(client, booking, -1)
        assert (await result_of(again))["message"] == OVERDUE
        await replay(client, again)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_trip_that_is_reset_in_the_middle_of_its_undo_undoes_everything(
    client: Client, faults: FaultyRecord, times: int
) -> None:
    booking = await start(client, trip(book_flight_id="invalid-flight-id"))
    await result_of(booking)
    again = booking
    for _ in range(times):
        # To the task that heard that the flight is undone, and has the hotel undone.
        again = await reset_to(client, booking, 4)
        assert (await result_of(again))["status"] == "failure"
        assert [name for name in await activities_of(again) if name in UNDO_ALL] == UNDO_ALL
        await replay(client, again)
    assert await held(faults, booking) == []


async def test_what_a_trip_had_begun_before_its_reset_is_undone_too(
    client: Client, faults: FaultyRecord
) -> None:
    """Its run before had come further than the run that goes back now."""
    booking = await start(client, trip())
    await result_of(booking)
    faults.faults["reserve", "hotel"] = gate = Gate()
    again = await reset_to(client, booking, 0)
    await gate.reached()
    await again.cancel()
    await cancelled(again)
    await gate.open()
    assert await held(faults, booking) == []
    await replay(client, again)
