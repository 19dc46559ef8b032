"""A trip belongs to one workflow execution: another one is refused, and undoes nothing."""

from dataclasses import replace

import pytest
from temporalio.client import Client, WorkflowHandle

from record import Record
from shared import KINDS, TASK_QUEUE_NAME, BookingResult, BookVacationInput, Execution
from tests.conftest import trip
from tests.faults import FaultyRecord, Gate
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    held,
    reset_to,
    result_of,
    start,
)
from workflows import BookingWorkflow


async def snapshot(record: Record, trip_id: str) -> object:
    return await record.trips.by_id(trip_id), await record.reservations.of(trip_id)


async def start_as(
    client: Client, workflow_id: str, book_input: BookVacationInput
) -> WorkflowHandle[BookingWorkflow, BookingResult]:
    return await client.start_workflow(
        BookingWorkflow.run, book_input, id=workflow_id, task_queue=TASK_QUEUE_NAME
    )


OTHER_ITEMS = {"book_car_id": "another-car", "book_hotel_id": "another-hotel"}


@pytest.mark.parametrize("changes", [{}, OTHER_ITEMS], ids=["the same trip", "another"])
async def test_a_start_under_the_id_of_an_old_trip_leaves_it_whole(
    client: Client, faults: FaultyRecord, changes: dict[str, str]
) -> None:
    booking = await start(client, trip())
    await result_of(booking)
    before = await snapshot(faults, booking.id)
    # Temporal lets a closed workflow's id be used again even before it forgets the workflow.
    again = trip(book_user_id=booking.id, **changes)
    result = await result_of(await start(client, again))
    assert (result["status"], result["message"]) == (
        "failure",
        f"The id {booking.id} is another trip's",
    )
    assert await snapshot(faults, booking.id) == before
    assert await held(faults, booking) == list(KINDS)


async def started_as_far_as_its_flight(client: Client, faults: FaultyRecord) -> tuple[Trip, Gate]:
    """Return a running trip, and the gate before which the first try of its flight stands."""
    faults.faults["reserve", "flight"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    faults.faults.clear()
    return booking, gate


async def test_another_workflow_with_the_id_of_a_trip_leaves_it_whole(
    client: Client, faults: FaultyRecord
) -> None:
    booking, gate = await started_as_far_as_its_flight(client, faults)
    other = await start_as(client, f"other-{booking.id}", trip(book_user_id=booking.id))
    assert (await result_of(other))["status"] == "failure"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await held(faults, booking) == list(KINDS)
    row = await faults.trips.by_id(booking.id)
    assert row is not None and row.first_run_id == booking.first_execution_run_id


async def test_a_copied_input_that_names_another_execution_proves_nothing(
    client: Client, faults: FaultyRecord
) -> None:
    booking = await start(client, trip())
    await result_of(booking)
    before = await snapshot(faults, booking.id)
    seen = (await faults.trips.by_id(booking.id)) or pytest.fail("It is not recorded")
    copied = replace(
        trip(book_user_id=booking.id, **OTHER_ITEMS),
        execution=Execution(seen.workflow_id, seen.first_run_id or ""),
    )
    other = await start_as(client, f"other-{booking.id}", copied)
    assert (await result_of(other))["status"] == "failure"
    assert await snapshot(faults, booking.id) == before


# Resets


async def one_row(record: Record, trip_id: str, status: str) -> None:
    row = await record.trips.by_id(trip_id)
    assert row is not None and row.status == status
    assert [each.trip_id for each in await record.trips.page(100)] == [trip_id]


@pytest.mark.parametrize("task", [0, 1, -1], ids=["first", "second", "last"])
async def test_a_reset_of_a_rolled_back_trip_books_nothing(
    client: Client, faults: FaultyRecord, task: int
) -> None:
    booking = await start(client, trip(book_hotel_id="invalid-hotel-id"))
    await result_of(booking)
    before = await faults.trips.by_id(booking.id)
    again = await reset_to(client, booking, task)
    assert (await result_of(again))["status"] == "failure"
    assert await held(faults, booking) == []
    assert await faults.trips.by_id(booking.id) == before, "The same outcome for good"


async def test_a_reset_of_a_cancelled_trip_books_nothing(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    await booking.cancel()
    await cancelled(booking)
    await gate.open()
    before = await faults.trips.by_id(booking.id)
    # To where nothing was undone yet, so that no tombstone is of help to the hotel and the flight.
    again = await reset_to(client, booking, 0)
    await eventually(lambda: is_closed(again))
    assert await held(faults, booking) == []
    assert await faults.trips.by_id(booking.id) == before


async def is_closed(booking: Trip) -> bool:
    return (await booking.describe()).close_time is not None


async def test_a_reset_of_a_running_trip_goes_on_with_the_same_reservations(
    client: Client, faults: FaultyRecord
) -> None:
    booking, gate = await started_as_far_as_its_flight(client, faults)
    again = await reset_to(client, booking, 0)
    assert (await result_of(again))["status"] == "success"
    await gate.open()
    assert await held(faults, booking) == list(KINDS)
    await one_row(faults, booking.id, "booked")
