"""What an audit says of trips that are held: nothing, unless they should have expired."""

import datetime as dt

import pytest
from temporalio.client import Client

from audit import Auditor
from bookings import Bookings
from record import Record
from tests.audit.auditing import audit, change_trip, said_of, trip
from tests.bookings.requests import SHOP
from tests.bookings.test_holding import expired, hold
from tests.faults import DEADLINE
from tests.workers import running_worker

TOO_LONG = "should have expired, and is still held."


async def put_back(record: Record, trip_id: str, seconds: float) -> None:
    """Have a trip be held until so long ago."""
    end = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    await change_trip(record, trip_id, expires_at=end)


@pytest.mark.usefixtures("worker")
async def test_nothing_is_said_of_trips_that_are_held_confirmed_or_expired(
    auditor: Auditor, asked: Bookings
) -> None:
    held, over = await hold(asked), await expired(asked)
    booked = await asked.confirm((await hold(asked)).trip_id, SHOP, DEADLINE)
    assert await said_of(auditor, held.trip_id, over.trip_id, booked.trip_id) == []
    assert (await asked.look_up(held.trip_id, SHOP)) == held


async def test_a_trip_that_is_held_past_its_time_is_told_at_each_audit(
    auditor: Auditor, asked: Bookings, client: Client, record: Record
) -> None:
    async with running_worker(client, record):
        late, young = [(await hold(asked)).trip_id for _ in range(2)]
    await put_back(record, late, 61)
    await put_back(record, young, 50)
    for _ in range(2):
        tally, said = await audit(auditor)
        assert said.of(late) == [TOO_LONG]
        assert said.of(young) == []
        assert tally.differences["held_too_long"] == 1
    kept = await record.audits.last()
    assert kept and kept.differences and kept.differences["held_too_long"] == 1
    assert (await trip(record, late)).status == "held", "Its workflow will see to it"
