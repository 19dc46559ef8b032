"""The embedded supplier: what it says of the record in the port's words."""

import asyncio

import pytest
import sqlalchemy as sa

from record import Record
from shared import KINDS, Kind
from suppliers import EmbeddedSupplier, Refused, Unavailable
from tests.faults import FaultyRecord, down
from tests.record.trips import trip

TRIP = trip()

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
async def test_a_record_that_is_broken_is_final_and_its_words_stay_in_the_logs(
    record: Record, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    await record.prepare()
    with record._engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE reservations"))
    supplier = EmbeddedSupplier(kind, record)
    calls = [
        supplier.book(TRIP, 1),
        supplier.cancel(TRIP),
        supplier.refuse_late_booking(TRIP),
    ]
    for call in calls:
        with pytest.raises(Refused, match=rf"\AThe {kind} supplier failed\Z"):
            await call
    assert "no such table" in caplog.text


@each_kind
async def test_a_record_that_is_away_is_worth_another_try(record: Record, kind: Kind) -> None:
    faulty = FaultyRecord(record)
    faulty.faults["reserve", kind] = faulty.faults["cancel", kind] = down
    supplier = EmbeddedSupplier(kind, faulty)
    for call in (supplier.book(TRIP, 1), supplier.cancel(TRIP)):
        with pytest.raises(Unavailable, match="The record is down"):
            await call


@each_kind
async def test_a_trip_that_is_anothers_is_refused_and_stays_as_it_is(
    record: Record, kind: Kind
) -> None:
    supplier = EmbeddedSupplier(kind, record)
    await supplier.book(TRIP, 1)
    another = trip(run="another-run")
    with pytest.raises(Refused, match=r"\AThe id trip is another trip's\Z"):
        await supplier.book(another, 1)
    await supplier.cancel(another)
    await supplier.refuse_late_booking(another)
    assert [row.state for row in await record.all_reservations()] == ["reserved"]


@each_kind
async def test_late_bookings_are_refused_once_a_step_is_settled(record: Record, kind: Kind) -> None:
    supplier = EmbeddedSupplier(kind, record)
    await supplier.refuse_late_booking(TRIP)
    with pytest.raises(Refused, match="was undone already"):
        await supplier.book(TRIP, 1)


async def test_the_hotel_takes_its_latency_to_book_and_twice_that_to_say_that_it_is_down(
    record: Record,
) -> None:
    hotel = EmbeddedSupplier("hotel", record, latency=0.1, outage_attempts=1)
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(Unavailable):
        await hotel.book(TRIP, 1)
    down_after, began = clock() - began, clock()
    await hotel.book(TRIP, 2)
    assert (down_after > 0.19, clock() - began > 0.09) == (True, True)
