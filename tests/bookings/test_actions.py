"""The record names the caller of each cancel and of each repair."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from bookings import BookingConflict, Bookings, NoWorker, TemporalUnavailable
from connection import lazy_client
from record import Record, RecordedTrip, RecordUnavailable
from tests.bookings.requests import DESK, SHOP, UNASKED, ended, half_way, planted, stuck
from tests.conftest import IMPATIENT
from tests.faults import FaultyRecord, Gate
from tests.trips import eventually

NOTE = "Cancelled by phone"


def actions(trip: RecordedTrip) -> list[tuple[Any, ...]]:
    """Return all of the actions but their times."""
    times = [each.at for each in trip.actions]
    assert times == sorted(times)
    return [(each.caller, each.action, each.kind, each.note) for each in trip.actions]


def logged(caplog: pytest.LogCaptureFixture, user_id: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "record.actions" and vars(record)["trip_id"] == user_id
    ]


async def test_a_cancel_of_a_running_trip_names_each_caller_once(
    asked: Bookings, faults: FaultyRecord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    booking, undoing = Gate(), Gate()
    # Else it may be over before the last of them asks.
    faults.faults["cancel", "hotel"] = undoing
    user_id = await half_way(asked, faults, booking, "hotel")
    for caller in (SHOP, SHOP, DESK, SHOP):
        await asked.cancel(user_id, caller, 0)
    await undoing.open()
    await booking.open()
    expected = [("shop", "cancel", None, None), ("desk", "cancel", None, None)]
    assert actions(await ended(asked, user_id)) == expected
    assert logged(caplog, user_id) == [
        "Caller shop asks for: cancel",
        "Caller desk asks for: cancel",
    ]


async def test_a_cancel_of_a_booked_trip_names_the_caller_that_has_begun_it(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    await asyncio.gather(*(asked.cancel(user_id, DESK, 60) for _ in range(8)))
    assert actions(await asked.cancel(user_id, SHOP, 60)) == [("desk", "cancel", None, None)]


async def test_a_repair_names_the_operator(
    asked: Bookings, faults: FaultyRecord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    user_id = await stuck(asked, faults)
    with pytest.raises(BookingConflict):
        await asked.repair(user_id, "flight", DESK, NOTE)
    await asked.repair(user_id, "hotel", DESK)

    async def it_may_be_resolved() -> bool:
        with contextlib.suppress(BookingConflict):
            await asked.repair(user_id, "hotel", DESK, NOTE)
            return True
        return False

    await eventually(it_may_be_resolved)
    trip = await ended(asked, user_id)
    expected = [("desk", "retry", "hotel", None), ("desk", "resolve", "hotel", NOTE)]
    assert actions(trip) == expected, "What was refused is not among them"
    assert "Caller desk asks for: retry of the hotel's undo" in logged(caplog, user_id)
    assert NOTE not in caplog.text
    await asked.repair(user_id, "hotel", DESK, "Again")
    assert actions(await asked.look_up(user_id, SHOP)) == actions(trip), "It changes nothing"


async def test_an_action_is_noted_even_if_its_answer_is_lost(
    asked: Bookings, faults: FaultyRecord
) -> None:
    cut_off = Bookings(await lazy_client({"target_host": "localhost:1"}), faults, IMPATIENT)
    running, broken = await planted(faults, "running"), await stuck(asked, faults)
    for _ in range(2):
        with pytest.raises(TemporalUnavailable):
            await cut_off.cancel(running, SHOP, 60)
    assert actions(await asked.look_up(running, SHOP)) == [("shop", "cancel", None, None)]
    with pytest.raises((TemporalUnavailable, NoWorker)):
        await cut_off.repair(broken, "hotel", DESK)
    assert actions(await asked.look_up(broken, SHOP)) == [("desk", "retry", "hotel", None)]


async def test_nothing_is_done_for_a_caller_that_cannot_be_noted(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await planted(record, "running")

    async def away(*_: object) -> None:
        raise RecordUnavailable

    monkeypatch.setattr(record.actions, "note_cancel", away)
    with pytest.raises(RecordUnavailable):
        await Bookings(UNASKED, record, IMPATIENT).cancel(running, SHOP, 60)
