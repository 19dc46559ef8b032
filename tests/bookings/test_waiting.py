"""A wait ends with the trip, with the time, or when the client that waits has gone."""

import asyncio
import time
from collections.abc import Callable

import pytest

from bookings import Bookings
from connection import lazy_client
from record import Record, RecordedTrip
from tests.bookings.requests import DESK, JOHN, SHOP, new_id, stub
from tests.conftest import IMPATIENT


async def begun(asked: Bookings, record: Record) -> RecordedTrip:
    """Return the row of a trip that nobody works on."""
    trip = await asked.book(new_id(), JOHN, SHOP.name, 0)
    row = await record.trips.by_id(trip.user_id)
    assert row is not None
    return row


@pytest.fixture(params=[0, 300], ids=["by the record", "by a long poll"])
def waits(asked: Bookings, request: pytest.FixtureRequest) -> Bookings:
    """Bookings that learn of an end in each of the two ways."""
    asked.waits.max_long_polls = request.param
    return asked


def after(seconds: float) -> Callable[[], bool]:
    """Tell that the client has gone once so many seconds have passed."""
    then = time.monotonic() + seconds
    return lambda: time.monotonic() > then


async def test_a_wait_ends_when_the_client_has_gone(waits: Bookings) -> None:
    user_id = new_id()
    async with asyncio.timeout(30):
        trip = await waits.book(user_id, JOHN, SHOP.name, 600, after(0.3))
        assert trip.status == "running"
        assert (await waits.look_up_after(user_id, DESK, 600, after(0.3))).status == "running"
        assert (await waits.cancel(user_id, DESK, 600, after(0.3))).status == "running"
    assert not waits.waits._waits, "Nothing waits on"


async def test_a_client_that_stays_gets_the_outcome(waits: Bookings, worker: None) -> None:
    user_id = new_id()
    assert (await waits.book(user_id, JOHN, SHOP.name, 0)).status == "running"
    assert (await waits.look_up_after(user_id, SHOP, 60, lambda: False)).status == "booked"
    assert (await waits.book(user_id, JOHN, SHOP.name, 60, lambda: False)).status == "booked"


async def test_a_process_that_stops_ends_every_wait_and_begins_none(
    waits: Bookings, record: Record
) -> None:
    row = await begun(waits, record)
    begun_waits = {
        asyncio.create_task(waits.look_up_after(row.trip_id, DESK, 600)) for _ in range(2)
    }
    assert not (await asyncio.wait(begun_waits, timeout=0.1))[0]
    waits.stop_waiting()
    async with asyncio.timeout(20):
        await asyncio.gather(*begun_waits)
        assert (await waits.look_up_after(row.trip_id, DESK, 600)).status == "running"


async def test_a_wait_for_a_workflow_that_is_not_there_is_over_at_once(
    asked: Bookings, record: Record
) -> None:
    row = await begun(Bookings(stub(), record, IMPATIENT), record)
    async with asyncio.timeout(20):
        await asked.waits.until_closed(row, 600, None)


async def test_a_wait_outlasts_an_outage_of_temporal_and_the_record_tells_of_the_end(
    record: Record, unused_tcp_port: int
) -> None:
    row = await begun(Bookings(stub(), record, IMPATIENT), record)
    nobody = await lazy_client({"target_host": f"127.0.0.1:{unused_tcp_port}"})
    wait = asyncio.create_task(
        Bookings(nobody, record, IMPATIENT).look_up_after(row.trip_id, DESK, 600)
    )
    assert not (await asyncio.wait({wait}, timeout=0.3))[0]
    await record.trips.withdraw(row.trip_id, "rolled_back", "for a test")
    async with asyncio.timeout(20):
        assert (await wait).status == "rolled_back"
