"""The actions of callers on a trip: none is changed, and a look-up tells the latest."""

import pytest

from record import Record, actions
from tests.record.trips import NOON, accepted


@pytest.mark.parametrize("trip_id", ["trip", "a b\n%é"])
async def test_a_look_up_tells_the_trips_own_actions(record: Record, trip_id: str) -> None:
    for each in (trip_id, "another"):
        await record.trips.accept(accepted(each, status="booked", closed_at=NOON))
    await record.trips.begin_cancellation(trip_id, "shop")
    await record.actions.note_repair(trip_id, "desk", "car", None)
    await record.actions.note_repair(trip_id, "desk", "car", "A\0 note")
    await record.actions.note_repair("another", "desk", "hotel", None)
    found = await record.trips.by_id(trip_id)
    assert found is not None
    told = [(each.caller, each.action, each.kind, each.note) for each in found.actions]
    assert told == [
        ("shop", "cancel", None, None),
        ("desk", "retry", "car", None),
        ("desk", "resolve", "car", "A\ufffd note"),
    ]
    assert all(each.at.tzinfo for each in found.actions)


async def test_the_latest_actions_are_told_in_their_order(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "_LATEST", actions._LATEST.limit(3))
    await record.trips.accept(accepted())
    for number in range(5):
        await record.actions.note_repair("trip", f"caller-{number}", "car", None)
    found = await record.trips.by_id("trip")
    assert found and [each.caller for each in found.actions] == ["caller-2", "caller-3", "caller-4"]


async def test_the_cancellation_of_a_trip_that_is_over_is_noted_where_it_begins(
    record: Record,
) -> None:
    row, _ = await record.trips.accept(accepted())
    assert (await record.trips.begin_cancellation("trip", "early")).actions == []
    await record.trips.found(row, "booked", None)
    for caller in ("shop", "desk"):
        begun = await record.trips.begin_cancellation("trip", caller)
    assert [each.caller for each in begun.actions] == ["shop"]
