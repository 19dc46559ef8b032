"""Trips that are older than the record: known by their reservations, for a while by Temporal."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import replace

import pytest
from temporalio.client import Client

from bookings import BookingDiffers, Bookings, Caller
from record import OLDER, Record, RecordedTrip
from record.tables import reservations
from shared import KINDS, TASK_QUEUE_NAME, Kind, TripStatus
from tests.api.api_client import JOHN, api_of, body_of
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord
from tests.trips import result_of, start
from workflows import BookingWorkflow

OPERATOR = Caller("anyone", operator=True)
ALL: dict[Kind, str] = {kind: JOHN[kind] for kind in KINDS}
LONG_AGO = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)


async def migrated(
    record: Record,
    status: TripStatus,
    reserved: Mapping[Kind, str],
    accepted_at: dt.datetime = LONG_AGO,
) -> str:
    """Have the record know of a trip what the migration derives; return its id."""
    trip_id = f"older-{uuid.uuid4().hex}"
    await record.accept(
        RecordedTrip(
            trip_id=trip_id,
            owner=None,
            request={str(kind): item for kind, item in reserved.items()},
            status=status,
            workflow_id=trip_id,
            accepted_at=accepted_at,
            first_run_id=OLDER,
            closed_at=None if status == "running" else accepted_at,
        )
    )
    times = {"created_at": accepted_at, "updated_at": accepted_at}
    rows = [
        {"trip_id": trip_id, "kind": kind, "item": item, "state": "reserved", **times}
        for kind, item in reserved.items()
    ]
    await record._write(lambda sql: sql.execute(reservations.insert(), rows))
    return trip_id


@pytest.fixture
def asked(client: Client, record: Record) -> Bookings:
    return Bookings(client, record, IMPATIENT)


async def test_one_that_temporal_forgot_is_looked_up_listed_and_cancelled(
    client: Client, asked: Bookings, faults: FaultyRecord
) -> None:
    trip_id = await migrated(faults, "booked", ALL)
    api = api_of(client)
    booking = body_of(await api.get(f"/bookings/{trip_id}"))
    assert (booking["status"], booking["reservations"]) == ("booked", ALL)
    assert [row["user_id"] for row in body_of(await api.get("/bookings"))["bookings"]] == [trip_id]
    cancelled = body_of(await api.call("POST", f"/bookings/{trip_id}/cancel"))
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
    assert {row.state for row in await faults.reservations_of(trip_id)} == {"cancelled"}


async def test_one_that_holds_a_part_needs_attention_until_it_is_cancelled(
    asked: Bookings, faults: FaultyRecord
) -> None:
    part: dict[Kind, str] = {"car": ALL["car"], "hotel": ALL["hotel"]}
    trip_id = await migrated(faults, "running", part)
    found = await asked.look_up(trip_id, OPERATOR)
    assert found.status == "needs_attention"
    assert {step.kind: step.item for step in found.steps if step.held} == part
    assert (await asked.cancel(trip_id, OPERATOR, 20)).status == "cancelled"
    rows = await faults.reservations_of(trip_id)
    assert {row.state for row in rows} == {"cancelled"}


async def test_temporal_is_asked_once_whose_it_is(asked: Bookings, record: Record) -> None:
    trip_id = await migrated(record, "booked", ALL)
    await asked.look_up(trip_id, OPERATOR)
    row = await record.trip(trip_id)
    assert row is not None and row.owner == ""


async def test_one_that_temporal_knows_is_its_owners(
    client: Client, asked: Bookings, record: Record
) -> None:
    trip_id = await migrated(record, "running", {"car": ALL["car"]}, dt.datetime.now(dt.UTC))
    await client.start_workflow(
        BookingWorkflow.run,
        trip(book_user_id=trip_id, accepted=False),
        id=trip_id,
        task_queue=TASK_QUEUE_NAME,
        memo={"name": "Ada", "owner": "shop"},
    )
    found = await asked.look_up(trip_id, Caller("shop", operator=False))
    assert (found.status, found.request["name"]) == ("running", "Ada")
    await client.get_workflow_handle(trip_id).terminate()


@pytest.mark.parametrize("status", ["booked", "running"])
async def test_a_start_under_its_id_leaves_it_whole(
    client: Client, asked: Bookings, faults: FaultyRecord, status: TripStatus
) -> None:
    trip_id = await migrated(faults, status, ALL)
    stranger = trip(book_user_id=trip_id, book_hotel_id="another", accepted=False)
    result = await result_of(await start(client, stranger))
    assert result["status"] == "failure"
    assert {row.state for row in await faults.reservations_of(trip_id)} == {"reserved"}
    found = await asked.look_up(trip_id, OPERATOR)
    assert {step.kind: step.item for step in found.steps if step.held} == ALL


async def test_its_key_gives_its_outcome(client: Client, faults: FaultyRecord) -> None:
    trip_id = await migrated(faults, "booked", ALL)
    bookings = Bookings(client, faults, replace(IMPATIENT, trip_deadline=60))
    again = await bookings.book(trip_id, JOHN, "anonymous", 5)
    assert (again.status, [step.item for step in again.steps]) == ("booked", list(ALL.values()))


async def test_its_key_with_another_body_is_refused(client: Client, faults: FaultyRecord) -> None:
    trip_id = await migrated(faults, "booked", ALL)
    bookings = Bookings(client, faults, IMPATIENT)
    with pytest.raises(BookingDiffers):
        await bookings.book(trip_id, JOHN | {"car": "another"}, "anonymous", 5)
