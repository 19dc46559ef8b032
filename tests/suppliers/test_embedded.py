"""The embedded supplier: what it says of the record in the port's words."""

import asyncio

import pytest
import sqlalchemy as sa

from record import Record
from suppliers import EmbeddedSupplier, RecordAway, Refused, Try, Unavailable
from tests.suppliers.script import trip


async def test_a_record_that_is_broken_says_nothing_of_the_supplier_and_is_logged_as_a_bug(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    await record.database.prepare()
    await record.database.write(lambda sql: sql.execute(sa.text("DROP TABLE reservations")))
    supplier = EmbeddedSupplier("car", record)
    calls = [supplier.book(trip(), Try()), supplier.cancel(trip(), Try())]
    for call in calls:
        with pytest.raises(RecordAway):
            await call
    assert caplog.text.count("The record is broken") == len(calls)
    assert "no such table" in caplog.text


async def test_another_execution_books_and_undoes_nothing_of_the_trip(record: Record) -> None:
    supplier, another = EmbeddedSupplier("car", record), trip(run="another-run")
    await supplier.book(trip(), Try())
    with pytest.raises(Refused, match=r"\AThe id trip is another trip's\Z"):
        await supplier.book(another, Try())
    await supplier.cancel(another, Try())
    assert [row.state for row in await record.reservations.everything()] == ["reserved"]


async def test_the_hotel_takes_its_latency_to_book_and_twice_that_to_say_that_it_is_down(
    record: Record,
) -> None:
    hotel = EmbeddedSupplier("hotel", record, latency=0.05, outage_attempts=1)
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(Unavailable):
        await hotel.book(trip(), Try(1))
    down_after, began = clock() - began, clock()
    await hotel.book(trip(), Try(2))
    assert (down_after > 0.095, clock() - began > 0.045) == (True, True)
