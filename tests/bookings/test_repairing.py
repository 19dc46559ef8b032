"""A stuck undo can be retried or resolved; doing so again changes nothing. All else is refused."""

import datetime as dt

import pytest
from temporalio.client import Client

from bookings import BookingConflict, Bookings, NoWorker
from record import Record
from shared import KINDS
from tests.bookings.requests import DESK, SHOP, ended, planted, states, stuck
from tests.faults import DEADLINE, FaultyRecord, faulty_worker, refuse_for_good
from tests.trips import eventually

NOTE = "Cancelled by phone"

OTHERS = ["undone"] * len(KINDS[2:])
"""The steps after car and hotel."""


async def test_a_stuck_undo_can_be_retried(asked: Bookings, faults: FaultyRecord) -> None:
    user_id = await stuck(asked, faults)
    del faults.faults["cancel", "hotel"]
    await asked.repair(user_id, "hotel", DESK)
    trip = await ended(asked, user_id)
    assert (trip.status, states(trip)) == ("rolled_back", ["undone"] * len(KINDS))
    assert await asked.repair(user_id, "hotel", DESK) == trip


async def test_a_stuck_undo_can_be_resolved(asked: Bookings, faults: FaultyRecord) -> None:
    user_id = await stuck(asked, faults)
    resolved = await asked.repair(user_id, "hotel", DESK, NOTE)
    assert states(resolved)[1] == "resolved", "It returns once that is recorded"
    trip = await ended(asked, user_id)
    assert (trip.status, states(trip)) == ("rolled_back", ["undone", "resolved", *OTHERS])
    assert [step.note for step in trip.steps] == [None, NOTE, *[None] * len(OTHERS)]
    assert await asked.repair(user_id, "hotel", DESK, "Another note") == trip
    with pytest.raises(BookingConflict):
        await asked.repair(user_id, "car", DESK, NOTE)


async def test_a_stuck_cancellation_can_be_repaired(asked: Bookings, faults: FaultyRecord) -> None:
    user_id = await planted(faults)
    faults.faults["cancel", "car"] = faults.faults["cancel", "hotel"] = refuse_for_good
    assert (await asked.cancel(user_id, SHOP, DEADLINE)).status == "needs_attention"

    async def both_are_stuck() -> bool:
        return states(await asked.look_up(user_id, SHOP)) == ["stuck", "stuck", *OTHERS]

    await eventually(both_are_stuck)
    await asked.repair(user_id, "car", DESK, NOTE)
    del faults.faults["cancel", "hotel"]
    await asked.repair(user_id, "hotel", DESK)
    trip = await ended(asked, user_id)
    assert (trip.status, states(trip)) == ("cancelled", ["resolved", "undone", *OTHERS])


async def test_what_is_not_stuck_is_a_conflict(asked: Bookings, faults: FaultyRecord) -> None:
    user_id = await stuck(asked, faults)
    with pytest.raises(BookingConflict, match="not stuck"):
        await asked.repair(user_id, "flight", DESK, NOTE)
    with pytest.raises(BookingConflict, match="no undo is under way"):
        await asked.repair(await planted(faults), "car", DESK)


async def test_without_a_worker_nothing_is_repaired(
    asked: Bookings, client: Client, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookings.temporal.RPC_TIMEOUT", dt.timedelta(seconds=1))
    async with faulty_worker(client, record) as faults:
        user_id = await stuck(asked, faults)
    with pytest.raises(NoWorker):
        await asked.repair(user_id, "hotel", DESK)
    assert (await asked.look_up(user_id, SHOP)).status == "needs_attention"
