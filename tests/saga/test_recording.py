"""What a workflow tells the record: each ending, before it closes, whatever happens meanwhile."""

from dataclasses import replace

import pytest
from temporalio.client import WorkflowExecutionStatus

from shared import CANCELLED, KINDS
from tests.conftest import trip
from tests.faults import Fault, Gate, answer_lost, at_first, down, refuse_for_good
from tests.saga.stage import Stage
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    execution_of,
    resolve_undo,
    result_of,
    until_stuck,
)


async def is_closed(booking: Trip) -> bool:
    return (await booking.describe()).status != WorkflowExecutionStatus.RUNNING


async def at_its_end(stage: Stage, hotel: str = "valid-hotel-id") -> tuple[Trip, Gate]:
    """Return a trip that is telling the record how it ends, and the gate before the record."""
    stage.record.when_told = gate = Gate()
    # A workflow that waits for its local activity hears of a cancel within that time.
    booking = await stage.start(task_timeout=2.0, book_hotel_id=hotel)
    await gate.reached()
    return booking, gate


async def test_a_booked_trip_is_recorded_with_its_steps_and_its_execution(stage: Stage) -> None:
    booking = await stage.booked()
    row = await stage.row(booking)
    assert (row.status, row.reason, row.owner) == ("booked", None, "shop")
    assert [(step.kind, step.state, step.held) for step in row.steps] == [
        (kind, "booked", True) for kind in KINDS
    ]
    assert (row.workflow_id, row.first_run_id) == (booking.id, booking.first_execution_run_id)
    items = {str(kind): f"valid-{kind}-id" for kind in KINDS}
    assert row.request == {"name": "John Doe", "attempts": 3, **items}
    assert row.closed_at is not None and row.closed_at >= row.accepted_at
    made_by = {each.first_run_id for each in await stage.record.reservations.of(booking.id)}
    assert made_by == {booking.first_execution_run_id}


@pytest.mark.parametrize("hotel", ["valid-hotel-id", "invalid-hotel-id"])
async def test_nobody_learns_of_an_ending_that_is_not_recorded(stage: Stage, hotel: str) -> None:
    booking, gate = await at_its_end(stage, hotel)
    assert not await is_closed(booking)
    assert (await stage.row(booking)).closed_at is None
    await gate.open()
    await result_of(booking)
    assert (await stage.row(booking)).closed_at is not None


@pytest.mark.shape("told_at_the_third_try")
@pytest.mark.parametrize("fault", [down, answer_lost])
async def test_a_workflow_tells_the_record_until_it_is_heard(stage: Stage, fault: Fault) -> None:
    stage.record.when_told = at_first(2, fault)
    booking = await stage.booked()
    assert len(stage.record.told) == 3
    assert (await stage.row(booking)).status == "booked"


@pytest.mark.shape("cancelled_while_the_record_is_told")
async def test_a_cancel_while_the_record_is_told_of_a_booked_trip_undoes_it(stage: Stage) -> None:
    booking, gate = await at_its_end(stage)
    await booking.cancel()
    stage.record.when_told = second = Gate()
    # The first telling has left the worker; it reaches the record, late or never.
    await second.reached()
    await second.open()
    await cancelled(booking)
    await gate.open()
    row = await stage.row(booking)
    assert (row.status, row.reason) == ("cancelled", CANCELLED), "What came first came last"
    assert await stage.held(booking) == []


async def test_a_cancel_while_the_record_is_told_of_a_rollback_changes_nothing(
    stage: Stage,
) -> None:
    booking, gate = await at_its_end(stage, "invalid-hotel-id")
    await booking.cancel()
    await gate.open()
    # The server has the workflow task done again in which the cancel came, so Temporal may show it.
    await eventually(lambda: is_closed(booking))
    assert (await stage.row(booking)).status == "rolled_back", "What was told first stands"
    assert await stage.held(booking) == []


async def test_late_news_of_a_booking_does_not_undo_what_its_cancellation_told(
    stage: Stage,
) -> None:
    stage.breaks("cancel", "hotel", refuse_for_good)
    booking = await stage.booked()
    told = stage.record.told[-1]
    cancellation = await stage.cancellation(booking)
    await until_stuck(cancellation, "hotel")
    before = await stage.row(booking)
    assert before.status == "needs_attention"
    late = replace(trip(book_user_id=booking.id), execution=execution_of(booking))
    await stage.record.trips.tell(late, told)
    assert await stage.row(booking) == before
    await resolve_undo(cancellation, "hotel", "By telephone")
    await result_of(cancellation)
    await stage.record.trips.tell(late, replace(told, at=told.at.replace(year=told.at.year + 1)))
    assert (await stage.row(booking)).status == "cancelled", "Nothing is held for good"
