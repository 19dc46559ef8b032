"""The audit beside suppliers that are a service of their own: what they hold is asked of them.

They are the simulated ones. Faults are planted at them through their own interface.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.client import Client

from audit import Auditor
from audit.differences import in_words
from record import UNHELD, Record
from record.tables import audits, unaudited
from settings import Settings
from shared import KINDS, TripStatus
from simulator.behaviour import Mode
from suppliers import compose
from tests.audit.auditing import (
    audit,
    auditing,
    book_at,
    change_trip,
    execute,
    held,
    said_of,
    trip,
)
from tests.simulator.simulated import Simulator

NEEDS_ATTENTION = "; it needs attention now."

Book = Callable[..., Awaitable[str]]


@pytest.fixture
async def suppliers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    """The simulated suppliers of every kind, which the settings lead to."""
    simulator = Simulator(tmp_path / "suppliers.db", slow_seconds=0.0, seed=1)
    await simulator.start()
    for kind in KINDS:
        url = str(simulator.server.make_url(f"/{kind}s"))
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_URL", url)
    try:
        yield simulator
    finally:
        await simulator.stop()


@pytest.fixture
async def at_suppliers(
    client: Client, record: Record, suppliers: Simulator
) -> AsyncIterator[Auditor]:
    """An auditor beside the simulated suppliers."""
    async with auditing(client, record) as auditor:
        yield auditor


@pytest.fixture
async def book(record: Record, suppliers: Simulator) -> AsyncIterator[Book]:
    """What books a trip at the simulated suppliers, and returns its id."""
    composed = compose(record, Settings())
    yield partial(book_at, composed.desks, record)
    await composed.close()


def rows_at(suppliers: Simulator, user_id: str, kind: str) -> list[tuple[str | None, str]]:
    """Return what a supplier has of a trip: items and states."""
    return [(row.item, row.state) for row in suppliers.stock.rows_of(kind, user_id)]


async def plant(suppliers: Simulator, user_id: str, kind: str, item: str) -> None:
    """Book at a supplier that keeps no tombstones."""
    suppliers.suppliers.mode = Mode(tombstones=False)
    assert (await suppliers.put(user_id, item, kind)).status == 201


async def left(record: Record) -> set[str]:
    return {
        row.trip_id
        for row in await record.database.read(lambda sql: sql.execute(sa.select(unaudited)).all())
    }


async def test_nothing_is_said_of_trips_that_are_as_they_must_be(
    at_suppliers: Auditor, book: Book, record: Record
) -> None:
    own = [await book(), await book(flight="sold-out-flight"), await book(car="unknown-car")]
    tally, said = await audit(at_suppliers)
    assert said.of(*own) == []
    assert (tally.not_compared, tally.elsewhere, tally.away) == (0, 0, set())


async def test_a_booked_trip_of_which_a_supplier_holds_nothing_is_marked(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book()
    await suppliers.delete(user_id, "hotel")
    found = "is recorded as booked, but the hotel supplier holds nothing for it"
    assert await said_of(at_suppliers, user_id) == [found + NEEDS_ATTENTION]
    assert await said_of(at_suppliers, user_id) == []


async def test_a_mark_is_taken_back_once_all_agrees_again(
    client: Client, at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book()
    holds, other = suppliers.stock.rows_of("hotel", user_id)[0], await book(flight="unknown-flight")
    suppliers.stock.drop(holds)
    assert len(await said_of(at_suppliers, user_id)) == 1
    # As long as it is not so, or as a supplier cannot be asked, the mark stays.
    assert await said_of(at_suppliers, user_id, other) == []
    await suppliers.call("PUT", "/faults", {"share": 1, "ways": ["html"]})
    suppliers.stock.add("hotel", user_id, holds.item, "confirmed")
    await audit(at_suppliers)
    assert (await trip(record, user_id)).status == "needs_attention"
    await suppliers.call("DELETE", "/faults")
    async with auditing(client, record) as another:
        assert await said_of(another, user_id, other) == []
    row = await trip(record, user_id)
    assert (row.status, row.reason) == ("booked", None)
    assert (await trip(record, other)).status == "rolled_back"


@pytest.mark.parametrize("kind", ["hotel", "flight"], ids=["undone", "never booked"])
async def test_a_late_booking_of_a_trip_that_has_ended_without_is_cancelled(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator, kind: str
) -> None:
    user_id = await book(flight="sold-out-flight")
    items = {"hotel": "valid-hotel-id", "flight": "sold-out-flight"}
    suppliers.suppliers.mode = Mode(tombstones=False)
    suppliers.stock.add(kind, user_id, items[kind], "confirmed")
    found = f"is recorded as rolled back, but the {kind} supplier held a {kind} for it"
    assert await said_of(at_suppliers, user_id) == [f"{found}; that is cancelled now."]
    assert rows_at(suppliers, user_id, kind)[-1] == (items[kind], "cancelled")
    assert (await held(record, user_id))[kind] == "cancelled"
    assert (await trip(record, user_id)).status == "rolled_back"
    assert await said_of(at_suppliers, user_id) == []


async def test_several_late_bookings_are_cancelled_one_by_one(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book(flight="sold-out-flight")
    suppliers.suppliers.mode = Mode(tombstones=False, idempotent=False)
    for _ in range(2):
        await suppliers.put(user_id, "valid-hotel-id", "hotel")
    for _ in range(2):
        assert len(await said_of(at_suppliers, user_id)) == 1
        assert user_id in await left(record), "It is looked at again, however old it is"
    assert await said_of(at_suppliers, user_id) == []
    assert user_id not in await left(record)
    assert {state for _, state in rows_at(suppliers, user_id, "hotel")} == {"cancelled"}


async def test_what_the_supplier_refuses_to_cancel_is_marked_in_its_words(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book(hotel="non-refundable-4-rooms", car="unknown-car")
    await plant(suppliers, user_id, "hotel", "non-refundable-4-rooms")
    found = "is recorded as rolled back, but the hotel supplier held a hotel for it"
    refused = f"{found}, and that cannot be cancelled: This fare cannot be refunded"
    assert await said_of(at_suppliers, user_id) == [refused + NEEDS_ATTENTION]
    assert (await trip(record, user_id)).reason == f"The trip {refused}"
    assert await said_of(at_suppliers, user_id) == []
    assert (await held(record, user_id))["hotel"] == "cancelling", "A cancellation asks again"


async def test_a_cancellation_that_takes_its_time_goes_on_with_the_next_audit(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book(hotel="slow-to-cancel-hotel", car="unknown-car")
    await plant(suppliers, user_id, "hotel", "slow-to-cancel-hotel")
    (said,) = await said_of(at_suppliers, user_id)
    assert said.endswith("held a hotel for it; its cancellation goes on with the next audit.")
    suppliers.now += 5
    (said,) = await said_of(at_suppliers, user_id)
    found = "is recorded as rolled back, but its hotel was still being cancelled by the record"
    assert said == f"{found}; that is cancelled now."
    assert await said_of(at_suppliers, user_id) == []
    assert (await held(record, user_id))["hotel"] == "cancelled"


async def test_what_belongs_to_no_claimed_trip_is_not_cancelled(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book(car="unknown-car")
    await change_trip(record, user_id, first_run_id=None)
    await plant(suppliers, user_id, "hotel", "valid-hotel-id")
    (said,) = await said_of(at_suppliers, user_id)
    assert said.endswith("the hotel supplier held a hotel for it; it needs attention now.")
    assert rows_at(suppliers, user_id, "hotel") == [("valid-hotel-id", "confirmed")]


async def test_a_supplier_that_is_away_is_no_difference_and_is_asked_the_next_time(
    client: Client, at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book()
    await audit(at_suppliers)
    await suppliers.delete(user_id, "hotel")
    await suppliers.call("PUT", "/faults", {"share": 1, "ways": ["error before"]})
    tally, said = await audit(at_suppliers)
    assert (said.of(user_id), tally.away) == ([], set(KINDS))
    assert user_id in await left(record)
    await suppliers.call("DELETE", "/faults")
    # Two audits of others have passed it by since, but it is not forgotten.
    await execute(record, sa.update(audits).values(began_at=audits.c.began_at))
    long_ago = (await trip(record, user_id)).accepted_at.replace(year=2025)
    await change_trip(record, user_id, closed_at=long_ago)
    async with auditing(client, record) as another:
        assert len(await said_of(another, user_id)) == 1
    assert user_id not in await left(record)


async def test_a_late_supplier_is_asked_only_when_it_can_know(
    client: Client,
    record: Record,
    suppliers: Simulator,
    book: Book,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOTEL_SUPPLIER_LATE_SECONDS", "1800")
    user_id = await book()
    await suppliers.delete(user_id, "hotel")
    async with auditing(client, record) as auditor:
        tally, said = await audit(auditor)
        assert (said.of(user_id), tally.away) == ([], set())
        assert user_id in await left(record)
        row = await trip(record, user_id)
        assert row.closed_at is not None
        await change_trip(record, user_id, closed_at=row.closed_at.replace(year=2025))
        assert len(await said_of(auditor, user_id)) == 1


async def test_what_is_held_at_a_supplier_that_is_not_set_up_any_more_is_not_compared(
    client: Client,
    at_suppliers: Auditor,
    book: Book,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user_id = await book()
    monkeypatch.delenv("HOTEL_SUPPLIER_URL")
    monkeypatch.setenv("CAR_SUPPLIER_URL", "http://127.0.0.1:9/cars")
    async with auditing(client, record) as another:
        tally, said = await audit(another)
    assert said.of(user_id) == []
    # Trips that other tests have left in this Temporal may be compared, too.
    assert tally.elsewhere >= 2
    assert user_id not in await left(record)


async def test_a_supplier_that_misspeaks_once_is_not_believed(
    at_suppliers: Auditor, book: Book, suppliers: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await book()
    find, questions = suppliers.suppliers.find, []

    def misspeak(kind: str, trip_id: str) -> Any:
        questions.append(kind)
        return find(kind, trip_id if questions.count(kind) > 2 else "another")

    monkeypatch.setattr(suppliers.suppliers, "find", misspeak)
    assert await said_of(at_suppliers, user_id) == []
    assert questions.count("hotel") == 3


# Held


def plant_hold(suppliers: Simulator, user_id: str) -> None:
    """Have the hotel supplier hold for a trip what it has not been confirmed."""
    until = suppliers.now + 900
    suppliers.stock.add("hotel", user_id, "valid-hotel-id", "held", until)


async def test_a_booked_trip_of_which_a_supplier_has_booked_nothing_is_marked(
    at_suppliers: Auditor, book: Book, suppliers: Simulator
) -> None:
    user_id = await book()
    suppliers.stock.drop(suppliers.stock.rows_of("hotel", user_id)[0])
    plant_hold(suppliers, user_id)
    found = "is recorded as booked, but the hotel supplier has not confirmed its hotel"
    assert await said_of(at_suppliers, user_id) == [found + NEEDS_ATTENTION]


@pytest.mark.parametrize("status", UNHELD)
async def test_what_is_held_for_a_trip_that_has_ended_without_is_released(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator, status: TripStatus
) -> None:
    user_id = await book(flight="sold-out-flight")
    await change_trip(record, user_id, status=status)
    suppliers.suppliers.mode = Mode(tombstones=False)
    plant_hold(suppliers, user_id)
    found = f"is recorded as {in_words(status)}, but the hotel supplier held a hotel for it"
    assert await said_of(at_suppliers, user_id) == [f"{found}; that is cancelled now."]
    assert rows_at(suppliers, user_id, "hotel")[-1] == ("valid-hotel-id", "cancelled")
    assert await said_of(at_suppliers, user_id) == []
    assert (await trip(record, user_id)).status == status


async def test_what_a_supplier_has_confirmed_of_an_expired_trip_is_cancelled(
    at_suppliers: Auditor, book: Book, record: Record, suppliers: Simulator
) -> None:
    user_id = await book(flight="sold-out-flight")
    await change_trip(record, user_id, status="expired")
    await plant(suppliers, user_id, "car", "valid-car-id")
    assert len(await said_of(at_suppliers, user_id)) == 1
    assert rows_at(suppliers, user_id, "car")[-1] == ("valid-car-id", "cancelled")
