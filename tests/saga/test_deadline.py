"""A trip's own deadline: what is not booked by then is undone, and says so."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate, activity_half, workflow_half
from tests.trips import activities_of, eventually, held, reset, result_of, start, workflow_tasks
from tests.workers import running_worker, work_with
from workflows import BookingWorkflow

OVERDUE = "The trip could not be booked in time"


async def past(client: Client, deadline: float, began: dt.datetime) -> None:
    """Wait until a deadline of so many seconds has passed."""

    async def passed() -> bool:
        return dt.datetime.now(dt.UTC) > began + dt.timedelta(seconds=deadline + 0.1)

    await eventually(passed)


def hasty(seconds: float, **changes: Any) -> Any:
    return trip(policy=replace(IMPATIENT, trip_deadline=seconds), **changes)


@pytest.mark.parametrize("accepted", [True, False], ids=["by the API", "by the CLI"])
async def test_a_trip_that_waited_too_long_for_a_worker_is_not_booked(
    client: Client, record: Record, accepted: bool
) -> None:
    booking = await start(client, hasty(0.2, accepted=accepted))
    await past(client, 0.2, (await booking.describe()).start_time)
    async with running_worker(client, record):
        result = await result_of(booking)
    assert (result["status"], result["message"]) == ("failure", OVERDUE)
    assert await activities_of(booking) == []
    row = await record.trip(booking.id)
    assert row is not None and (row.status, row.reason) == ("rolled_back", OVERDUE)


async def test_a_trip_whose_worker_goes_away_half_way_is_undone(
    client: Client, record: Record
) -> None:
    work_with(record)
    booking = await start(client, hasty(1.5))
    async with workflow_half(client):
        async with activity_half(client):
            await eventually(lambda: held(record, booking))
        # The next step waits for who does it until the deadline.
        result_is_late = past(client, 1.5, (await booking.describe()).start_time)
        await result_is_late
        async with activity_half(client):
            result = await result_of(booking)
    assert result["status"] in ("failure", "success")
    if result["status"] == "failure":
        assert result["message"] == OVERDUE
        assert await held(record, booking) == []


async def test_a_step_gets_no_more_time_than_the_trip_has_left(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    booking = await start(client, hasty(1.0))
    result = await result_of(booking)
    await gate.open()
    assert (result["status"], result["message"]) == ("failure", OVERDUE)
    assert await held(faults, booking) == []


async def test_a_supplier_that_refuses_in_time_is_the_reason_even_if_the_undo_is_late(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = gate = Gate()
    # Long enough for the supplier to refuse on any machine.
    booking = await start(client, hasty(3.0, book_hotel_id="invalid-hotel-id"))
    await gate.reached()
    await past(client, 3.0, (await booking.describe()).start_time)
    await gate.open()
    assert (await result_of(booking))["message"] == "Invalid hotel booking, rolling back!"


@pytest.mark.parametrize("task", [0, 1], ids=["its start", "a later moment"])
async def test_a_trip_that_is_reset_has_no_deadline(
    client: Client, faults: FaultyRecord, task: int
) -> None:
    booking = await start(client, hasty(1.5))
    await result_of(booking)
    await past(client, 1.5, (await booking.describe()).start_time)
    await reset(client, booking, (await workflow_tasks(booking))[task])
    again = client.get_workflow_handle_for(BookingWorkflow.run, booking.id)
    assert (await result_of(again))["status"] == "success"
    assert await held(faults, booking) == list(KINDS)


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
        await past(client, 1.5, (await booking.describe()).start_time)
    async with running_worker(client, faults):
        assert (await result_of(booking))["message"] == OVERDUE
        await reset(client, booking, (await workflow_tasks(booking))[-1])
        again = client.get_workflow_handle_for(BookingWorkflow.run, booking.id)
        assert (await result_of(again))["message"] == OVERDUE
