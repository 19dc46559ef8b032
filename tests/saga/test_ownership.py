"""A trip belongs to one workflow execution: another one is refused, and undoes nothing."""

from dataclasses import replace
from typing import Any

import pytest

from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput, Execution
from tests.conftest import trip
from tests.saga.stage import Stage
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    reset_to,
    result_of,
    start,
)
from workflows import BookingWorkflow

OTHER_ITEMS: dict[str, Any] = {"book_car_id": "another-car", "book_hotel_id": "another-hotel"}


async def snapshot(stage: Stage, booking: Trip) -> object:
    return await stage.row(booking), await stage.record.reservations.of(booking.id)


async def start_other(stage: Stage, book_input: BookVacationInput) -> Trip:
    """Start another workflow with the input of a trip."""
    other = f"other-{book_input.book_user_id}"
    return await stage.client.start_workflow(
        BookingWorkflow.run, book_input, id=other, task_queue=TASK_QUEUE_NAME
    )


@pytest.mark.parametrize("changes", [{}, OTHER_ITEMS], ids=["the same trip", "another"])
async def test_a_start_under_the_id_of_an_old_trip_leaves_it_whole(
    stage: Stage, changes: dict[str, Any]
) -> None:
    booking = await stage.booked()
    before = await snapshot(stage, booking)
    # Temporal lets a closed workflow's id be used again even before it forgets the workflow.
    result = await result_of(await start(stage.client, trip(book_user_id=booking.id, **changes)))
    assert result == {"status": "failure", "message": f"The id {booking.id} is another trip's"}
    assert await snapshot(stage, booking) == before
    assert await stage.held(booking) == list(KINDS)


async def test_another_workflow_with_the_id_of_a_trip_leaves_it_whole(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "flight")
    stage.record.faults.clear()
    other = await start_other(stage, trip(book_user_id=booking.id))
    assert (await result_of(other))["status"] == "failure"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)
    assert (await stage.row(booking)).first_run_id == booking.first_execution_run_id


async def test_a_copied_input_that_names_another_execution_proves_nothing(stage: Stage) -> None:
    booking = await stage.booked()
    before, seen = await snapshot(stage, booking), await stage.row(booking)
    execution = Execution(seen.workflow_id, seen.first_run_id or "")
    copied = replace(trip(book_user_id=booking.id, **OTHER_ITEMS), execution=execution)
    other = await start_other(stage, copied)
    assert (await result_of(other))["status"] == "failure"
    assert await snapshot(stage, booking) == before


# Resets


@pytest.mark.parametrize("task", [0, 1, -1], ids=["first", "second", "last"])
async def test_a_reset_of_a_rolled_back_trip_books_nothing(stage: Stage, task: int) -> None:
    booking = await stage.start(book_hotel_id="invalid-hotel-id")
    await result_of(booking)
    before = await stage.row(booking)
    again = await reset_to(stage.client, booking, task)
    assert (await result_of(again))["status"] == "failure"
    assert await stage.held(booking) == []
    assert await stage.row(booking) == before, "The same outcome for good"


async def test_a_reset_of_a_cancelled_trip_books_nothing(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "car")
    await booking.cancel()
    await cancelled(booking)
    await gate.open()
    before = await stage.row(booking)
    # To where nothing was undone yet, so that no tombstone is of help to the hotel and the flight.
    again = await reset_to(stage.client, booking, 0)
    await eventually(lambda: is_closed(again))
    assert await stage.held(booking) == []
    assert await stage.row(booking) == before


async def is_closed(booking: Trip) -> bool:
    return (await booking.describe()).close_time is not None
