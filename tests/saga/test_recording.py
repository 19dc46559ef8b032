"""What a workflow tells the record: each ending, before it closes, whatever happens meanwhile."""

from dataclasses import replace

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from record import Record, RecordedTrip
from shared import CANCELLED, KINDS
from tests.conftest import trip
from tests.faults import (
    FaultyRecord,
    Gate,
    answer_lost,
    at_first,
    down,
    refuse_for_good,
)
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    execution_of,
    held,
    resolve_undo,
    result_of,
    start,
    start_cancellation,
    until_stuck,
)


async def row_of(record: Record, booking: Trip) -> RecordedTrip:
    row = await record.trips.by_id(booking.id)
    assert row is not None
    return row


async def is_closed(booking: Trip) -> bool:
    return not await is_open(booking)


async def is_open(booking: Trip) -> bool:
    return (await booking.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_a_booked_trip_is_recorded_with_its_steps_and_its_execution(
    client: Client, faults: FaultyRecord
) -> None:
    booking = await start(client, trip(name="John", owner="shop"))
    await result_of(booking)
    row = await row_of(faults, booking)
    assert (row.status, row.reason, row.owner) == ("booked", None, "shop")
    assert [(step.kind, step.state, step.held) for step in row.steps] == [
        (kind, "booked", True) for kind in KINDS
    ]
    assert (row.workflow_id, row.first_run_id) == (booking.id, booking.first_execution_run_id)
    items = {str(kind): f"valid-{kind}-id" for kind in KINDS}
    assert row.request == {"name": "John", "attempts": 3, **items}
    assert row.closed_at is not None and row.closed_at >= row.accepted_at
    made_by = {each.first_run_id for each in await faults.reservations.of(booking.id)}
    assert made_by == {booking.first_execution_run_id}


async def test_a_rolled_back_trip_is_recorded_with_its_reason(
    client: Client, faults: FaultyRecord
) -> None:
    booking = await start(client, trip(book_hotel_id="invalid-hotel-id"))
    await result_of(booking)
    row = await row_of(faults, booking)
    assert (row.status, row.reason) == ("rolled_back", "Invalid hotel booking, rolling back!")


@pytest.mark.parametrize("hotel", ["valid-hotel-id", "invalid-hotel-id"])
async def test_nobody_learns_of_an_ending_that_is_not_recorded(
    client: Client, faults: FaultyRecord, hotel: str
) -> None:
    faults.when_told = gate = Gate()
    booking = await start(client, trip(book_hotel_id=hotel))
    await gate.reached()
    assert await is_open(booking)
    assert (await row_of(faults, booking)).closed_at is None
    await gate.open()
    await result_of(booking)
    assert (await row_of(faults, booking)).closed_at is not None


@pytest.mark.parametrize("fault", [down, answer_lost])
async def test_a_workflow_tells_the_record_until_it_is_heard(
    client: Client, faults: FaultyRecord, fault: object
) -> None:
    faults.when_told = at_first(2, down if fault is down else answer_lost)
    booking = await start(client, trip())
    await result_of(booking)
    assert len(faults.told) == 3
    assert (await row_of(faults, booking)).status == "booked"


async def test_a_cancel_while_the_record_is_told_of_a_booked_trip_undoes_it(
    client: Client, faults: FaultyRecord
) -> None:
    faults.when_told = gate = Gate()
    booking = await start(client, trip())
    await gate.reached()
    await booking.cancel()
    faults.when_told = Gate()
    # The first telling has left the worker; it reaches the record, late or never.
    await faults.when_told.reached()
    await faults.when_told.open()
    await cancelled(booking)
    await gate.open()
    row = await row_of(faults, booking)
    assert (row.status, row.reason) == ("cancelled", CANCELLED), "What came first came last"
    assert await held(faults, booking) == []


async def test_a_cancel_while_the_record_is_told_of_a_rollback_changes_nothing(
    client: Client, faults: FaultyRecord
) -> None:
    faults.when_told = gate = Gate()
    booking = await start(client, trip(book_hotel_id="invalid-hotel-id"))
    await gate.reached()
    await booking.cancel()
    await gate.open()
    # The server has the workflow task done again in which the cancel came, so Temporal may show it.
    await eventually(lambda: is_closed(booking))
    assert (await row_of(faults, booking)).status == "rolled_back", "What was told first stands"
    assert await held(faults, booking) == []


async def test_the_cancellation_of_a_booked_trip_is_recorded_as_the_trips(
    client: Client, faults: FaultyRecord
) -> None:
    booking = await start(client, trip())
    await result_of(booking)
    booked = await faults.trips.begin_cancellation(booking.id)
    assert (booked.status, booked.closed_at) == ("running", None)
    await result_of(await start_cancellation(client, trip(book_user_id=booking.id)))
    row = await row_of(faults, booking)
    assert (row.status, row.reason) == ("cancelled", CANCELLED)
    assert row.first_run_id == booking.first_execution_run_id
    assert await held(faults, booking) == []


async def test_late_news_of_a_booking_does_not_undo_what_its_cancellation_told(
    client: Client, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    booking = await start(client, trip())
    await result_of(booking)
    told = faults.told[-1]
    await faults.trips.begin_cancellation(booking.id)
    cancellation = await start_cancellation(client, trip(book_user_id=booking.id))
    await until_stuck(cancellation, "hotel")

    async def recorded() -> bool:
        return (await row_of(faults, booking)).status == "needs_attention"

    await eventually(recorded)
    before = await row_of(faults, booking)
    execution = (await faults.reservations.of(booking.id))[0].first_run_id
    assert execution == booking.first_execution_run_id
    late = replace(trip(book_user_id=booking.id), execution=execution_of(booking))
    await record.trips.tell(late, told)
    assert await row_of(faults, booking) == before
    await resolve_undo(cancellation, "hotel", "By telephone")
    await result_of(cancellation)
    await record.trips.tell(late, replace(told, at=told.at.replace(year=told.at.year + 1)))
    assert (await row_of(faults, booking)).status == "cancelled", "Nothing is held for good"
