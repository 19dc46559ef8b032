"""The embedded suppliers' reservations, over SQLite and PostgreSQL alike."""

import asyncio

import pytest
import sqlalchemy as sa

from record import Record, RecordBroken, Reservation, ReservationRefused
from record.tables import reservations
from shared import KINDS
from tests.record.databases import execute, unchanged
from tests.record.trips import trip, with_item

HELD = Reservation("trip", "car", "a-car", "reserved", "first-run")

# One booking per step, however often it is asked for


async def test_reserving_again_changes_nothing(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    with unchanged(record):
        await record.reservations.reserve(trip(), "car")


async def test_many_reserves_at_once_are_one_reservation(pair: tuple[Record, Record]) -> None:
    await asyncio.gather(
        *(record.reservations.reserve(trip(), "car") for record in pair for _ in range(25))
    )
    assert await pair[0].reservations.everything() == [HELD]


async def test_another_item_than_the_one_held_is_refused(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    with pytest.raises(ReservationRefused, match=r"\AThe car of trip trip is a-car, not another\Z"):
        await record.reservations.reserve(with_item("car", "another"), "car")
    assert await record.reservations.everything() == [HELD]


async def test_trips_and_kinds_do_not_touch_each_other_and_come_in_the_order_of_booking(
    record: Record,
) -> None:
    for trip_id in ("trip", "another"):
        for kind in reversed(KINDS):
            await record.reservations.reserve(trip(trip_id), kind)
    await record.reservations.cancel(trip(), "hotel")
    assert [
        (row.trip_id, row.kind, row.state) for row in await record.reservations.everything()
    ] == [
        *(("another", kind, "reserved") for kind in KINDS),
        *(("trip", "car", "reserved"), ("trip", "hotel", "cancelled")),
        *(("trip", kind, "reserved") for kind in KINDS[2:]),
    ]
    held = await record.reservations.of("trip")
    assert held == (await record.reservations.of_all(["trip"]))["trip"]
    assert held[0] == HELD


async def test_any_text_is_an_item_and_an_id(record: Record) -> None:
    for item in ("'; DROP TABLE reservations; --", "🏖️ 山田", "%s ? :x", "a" * 200):
        await record.reservations.reserve(with_item("car", item, item), "car")
        held = Reservation(item, "car", item, "reserved", "first-run")
        assert await record.reservations.of(item) == [held]


# A tombstone refuses


async def test_cancelling_again_changes_nothing(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    await record.reservations.cancel(trip(), "car")
    with unchanged(record):
        await record.reservations.cancel(trip(), "car")


@pytest.mark.parametrize("booked_before", [True, False])
async def test_cancelling_leaves_a_tombstone_that_refuses_every_later_reserve(
    record: Record, booked_before: bool
) -> None:
    if booked_before:
        await record.reservations.reserve(trip(), "car")
    await record.reservations.cancel(trip(), "car")
    item = "a-car" if booked_before else None
    tombstone = Reservation("trip", "car", item, "cancelled", "first-run")
    for wanted in ("a-car", "another"):
        with pytest.raises(ReservationRefused, match="The car of trip trip was undone already"):
            await record.reservations.reserve(with_item("car", wanted), "car")
    assert await record.reservations.everything() == [tombstone]


async def test_a_reserve_that_races_its_cancel_always_ends_cancelled(
    pair: tuple[Record, Record],
) -> None:
    for number in range(40):
        own, (record, other) = trip(f"trip-{number}"), pair[:: (-1) ** number]
        answers: list[object] = await asyncio.gather(
            record.reservations.reserve(own, "car"),
            other.reservations.cancel(own, "car"),
            return_exceptions=True,
        )
        assert answers[1] is None
        assert answers[0] is None or isinstance(answers[0], ReservationRefused)
    assert {row.state for row in await pair[0].reservations.everything()} == {"cancelled"}


# What no reservation can be


async def test_the_schema_refuses_what_no_reservation_can_be(record: Record) -> None:
    row = {"trip_id": "trip", "kind": "car", "item": "a-car", "state": "reserved"}
    now = dict.fromkeys(("created_at", "updated_at"), sa.func.now())
    for wrong in ({"state": "lost"}, {"item": None}, {"trip_id": None}, {"created_at": None}):
        with pytest.raises(sa.exc.IntegrityError):
            execute(record, sa.insert(reservations).values({**row, **now, **wrong}))
    assert await record.reservations.everything() == []


async def test_a_violated_constraint_is_a_bug_and_not_an_outage(record: Record) -> None:
    with pytest.raises(RecordBroken):
        await record.reservations.reserve(with_item("car", None), "car")
