"""A trip that is held is booked once it is confirmed, and only then."""

import asyncio
import dataclasses
import datetime as dt

import pytest
from temporalio.client import Client

from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    Bookings,
    NoWorker,
    TemporalUnavailable,
)
from connection import lazy_client
from record import Record, RecordedTrip, RecordUnavailable
from shared import CANCELLED, EXPIRED, KINDS
from tests.bookings.requests import (
    DESK,
    JOHN,
    LAST,
    SHOP,
    UNASKED,
    begin,
    ended,
    held,
    new_id,
    planted,
    states,
)
from tests.bookings.test_actions import actions
from tests.conftest import IMPATIENT
from tests.faults import DEADLINE, FaultyRecord, Gate, refuse_for_good
from tests.workers import running_worker

CONFIRMED = [("shop", "confirm", None, None)]


async def hold(asked: Bookings, seconds: int = 600) -> RecordedTrip:
    """Have a trip held, and return it."""
    wanted = JOHN | {"hold_seconds": seconds}
    trip = await asked.book(new_id(), wanted, SHOP.name, DEADLINE)
    assert trip.status == "held"
    return trip


async def expired(asked: Bookings) -> RecordedTrip:
    """Return a trip that was held, and has expired."""
    trip = await ended(asked, (await hold(asked, 1)).trip_id)
    assert (trip.status, trip.reason) == ("expired", EXPIRED)
    return trip


# Booking


async def test_a_booking_returns_once_all_is_held(asked: Bookings, worker: None) -> None:
    trip = await hold(asked)
    assert (trip.closed_at, trip.booked_at, trip.confirmed_at) == (None, None, None)
    assert trip.expires_at is not None
    assert 590 < (trip.expires_at - trip.accepted_at).total_seconds() < 601
    assert states(trip) == ["held"] * len(KINDS)
    assert held(trip) == list(KINDS)


async def test_a_key_leads_to_what_is_held_without_a_wait(asked: Bookings, worker: None) -> None:
    wanted = JOHN | {"hold_seconds": 600}
    first = await asked.book(new_id(), wanted, SHOP.name, DEADLINE, key="once")
    assert await asked.book(new_id(), wanted, SHOP.name, DEADLINE, key="once") == first
    for other in (JOHN, JOHN | {"hold_seconds": 601}):
        with pytest.raises(BookingDiffers):
            await asked.book(new_id(), other, SHOP.name, 0, key="once")
    await asked.confirm(first.trip_id, SHOP, DEADLINE)
    booked = await asked.book(new_id(), wanted, SHOP.name, DEADLINE, key="once")
    assert (booked.trip_id, booked.status) == (first.trip_id, "booked")


async def test_what_cannot_be_held_is_rolled_back(asked: Bookings, worker: None) -> None:
    wanted = JOHN | {"hold_seconds": 600, "hotel": "invalid-hotel-id"}
    trip = await asked.book(new_id(), wanted, SHOP.name, DEADLINE)
    assert (trip.status, trip.reason) == ("rolled_back", "Invalid hotel booking, rolling back!")
    assert (held(trip), trip.expires_at) == ([], None)
    with pytest.raises(BookingConflict, match=r"^The trip's status is rolled_back; it is not held"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)


async def test_a_look_up_waits_until_a_trip_is_held_and_then_for_what_becomes_of_it(
    asked: Bookings, worker: None
) -> None:
    begun = await asked.book(new_id(), JOHN | {"hold_seconds": 600}, SHOP.name, 0)
    trip = await asked.look_up_after(begun, DEADLINE)
    assert trip.status == "held"
    waiting = asyncio.create_task(asked.look_up_after(trip, DEADLINE))
    await asked.confirm(trip.trip_id, SHOP, 0)
    assert (await waiting).status == "booked"


# Confirming


async def test_a_confirmed_trip_is_booked_once_however_often_it_is_asked(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    answers = await asyncio.gather(*(asked.confirm(trip.trip_id, SHOP, DEADLINE) for _ in range(8)))
    assert {(each.status, each.closed_at is not None) for each in answers} == {("booked", True)}
    booked = await asked.confirm(trip.trip_id, DESK, 0)
    assert (states(booked), held(booked)) == (["booked"] * len(KINDS), list(KINDS))
    assert booked.confirmed_at is not None and booked.booked_at is not None
    assert {row.state for row in await faults.reservations.of(trip.trip_id)} == {"reserved"}
    assert faults.tries("reserve", "hotel") == 2, "It was held once, and booked once"
    unasked = Bookings(UNASKED, faults, IMPATIENT)
    assert await unasked.confirm(trip.trip_id, SHOP, DEADLINE) == booked
    # It can be cancelled like any other.
    assert (await asked.cancel(trip.trip_id, SHOP, DEADLINE)).status == "cancelled"
    again = await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert (again.status, again.booked_at) == ("cancelled", booked.booked_at)


async def test_a_confirm_that_does_not_wait_is_carried_out_all_the_same(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    faults.faults["reserve", "hotel"] = gate = Gate()
    now = await asked.confirm(trip.trip_id, SHOP, 0)
    assert now.closed_at is None
    await gate.reached()
    for _ in range(2):
        now = await asked.confirm(trip.trip_id, SHOP, 0.1)
        assert (now.status, now.closed_at) == ("running", None)
        assert now.confirmed_at is not None
        assert states(now) == ["booked", "booking", *["held"] * len(KINDS[2:])]
    await gate.open()
    assert (await ended(asked, trip.trip_id)).status == "booked"


async def test_a_trip_that_cannot_be_booked_at_the_confirm_tells_so_each_time(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    faults.faults["reserve", "flight"] = refuse_for_good
    rolled_back = await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert (rolled_back.status, held(rolled_back)) == ("rolled_back", [])
    assert rolled_back.reason == "The flight cannot be cancelled"
    assert await asked.confirm(trip.trip_id, SHOP, DEADLINE) == rolled_back


async def test_a_confirm_whose_undo_is_stuck_waits_no_longer(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    faults.faults["reserve", "flight"] = faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert (stuck.status, stuck.closed_at) == ("needs_attention", None)
    assert await asked.confirm(trip.trip_id, SHOP, DEADLINE) == stuck


async def test_a_trip_that_was_never_to_be_held_cannot_be_confirmed(
    asked: Bookings, record: Record
) -> None:
    unasked = Bookings(UNASKED, record, IMPATIENT)
    for user_id in (await begin(asked), await planted(record), await planted(record, "running")):
        before = await asked.look_up(user_id, SHOP)
        told = rf"^The trip's status is {before.status}; it is not held\.$"
        with pytest.raises(BookingConflict, match=told):
            await unasked.confirm(user_id, SHOP, DEADLINE)
        assert await asked.look_up(user_id, SHOP) == before
        assert before.actions == []


async def test_a_trip_that_is_not_held_yet_cannot_be_confirmed(
    asked: Bookings, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    wanted = JOHN | {"hold_seconds": 600}
    trip = await asked.book(new_id(), wanted, SHOP.name, 0)
    await gate.reached()
    with pytest.raises(BookingConflict, match="status is running; it is not held"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert (await asked.look_up(trip.trip_id, SHOP)).actions == []
    await gate.open()


async def test_nobody_confirms_anothers_trip(asked: Bookings, worker: None) -> None:
    trip = await hold(asked)
    stranger = dataclasses.replace(SHOP, name="stranger")
    for user_id in (trip.trip_id, new_id()):
        with pytest.raises(BookingNotFound):
            await asked.confirm(user_id, stranger, DEADLINE)
    assert (await asked.look_up(trip.trip_id, SHOP)).actions == []
    confirmed = await asked.confirm(trip.trip_id, DESK, DEADLINE)
    assert actions(confirmed) == [("desk", "confirm", None, None)]


# Expired, or cancelled


async def test_an_expired_trip_can_neither_be_confirmed_nor_cancelled(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await expired(asked)
    assert (held(trip), states(trip)) == ([], ["undone"] * len(KINDS))
    with pytest.raises(BookingConflict, match=r"^The trip's status is expired; it is not held\.$"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    with pytest.raises(BookingConflict, match=r"^The trip has expired; nothing is left to cancel"):
        await asked.cancel(trip.trip_id, SHOP, DEADLINE)
    assert await asked.look_up(trip.trip_id, SHOP) == trip
    assert trip.actions == []


async def test_a_held_trip_can_be_cancelled_and_not_be_confirmed_any_more(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    faults.faults["cancel", LAST] = gate = Gate()
    await asked.cancel(trip.trip_id, SHOP, 0)
    await gate.reached()
    with pytest.raises(BookingConflict, match=r"^The trip is not held any more\.$"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    await gate.open()
    cancelled = await ended(asked, trip.trip_id)
    assert (cancelled.status, cancelled.reason) == ("cancelled", CANCELLED)
    assert held(cancelled) == []
    with pytest.raises(BookingConflict, match=r"^The trip's status is cancelled; it is not held"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert actions(await asked.look_up(trip.trip_id, SHOP)) == [("shop", "cancel", None, None)]


async def test_a_confirm_that_reaches_a_trip_which_has_closed_meanwhile_is_refused(
    asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = await hold(asked)
    take_confirm = asked._workflows.confirm

    async def cancelled_first(row: RecordedTrip) -> None:
        await asked.cancel(trip.trip_id, DESK, DEADLINE)
        await ended(asked, trip.trip_id)
        await take_confirm(row)

    monkeypatch.setattr(asked._workflows, "confirm", cancelled_first)
    with pytest.raises(BookingConflict, match=r"^The trip's status is cancelled; it is not held"):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert actions(await asked.look_up(trip.trip_id, SHOP)) == [("desk", "cancel", None, None)]


async def test_a_confirm_that_another_one_has_overtaken_to_the_end_gives_its_answer(
    asked: Bookings, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = await hold(asked)
    take_confirm = asked._workflows.confirm

    async def confirmed_first(row: RecordedTrip) -> None:
        await take_confirm(row)
        await ended(asked, trip.trip_id)
        await take_confirm(row)

    monkeypatch.setattr(asked._workflows, "confirm", confirmed_first)
    assert (await asked.confirm(trip.trip_id, SHOP, DEADLINE)).status == "booked"


# Temporal, the worker or the record are away


async def test_while_temporal_is_away_nothing_is_confirmed(
    asked: Bookings, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    cut_off = Bookings(await lazy_client({"target_host": "localhost:1"}), faults, IMPATIENT)
    with pytest.raises(TemporalUnavailable):
        await cut_off.confirm(trip.trip_id, SHOP, DEADLINE)
    now = await asked.look_up(trip.trip_id, SHOP)
    assert (now.status, now.confirmed_at, states(now)) == ("held", None, states(trip))
    assert actions(now) == CONFIRMED, "Its answer may have been lost"
    assert (await asked.confirm(trip.trip_id, SHOP, DEADLINE)).status == "booked"


async def test_without_a_worker_nothing_is_confirmed(
    asked: Bookings, client: Client, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookings.temporal.RPC_TIMEOUT", dt.timedelta(seconds=1))
    async with running_worker(client, record):
        trip = await hold(asked)
    with pytest.raises(NoWorker):
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)


async def test_a_trip_whose_workflow_was_terminated_needs_attention_and_can_be_cancelled(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    trip = await hold(asked)
    await client.get_workflow_handle(trip.trip_id).terminate()
    for _ in range(2):
        with pytest.raises(BookingConflict, match=r"^The trip's status is needs_attention; it is"):
            await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    settled = await asked.look_up(trip.trip_id, SHOP)
    assert (settled.closed_at is not None, settled.actions) == (True, [])
    assert held(settled) == list(KINDS)
    cancelled = await asked.cancel(trip.trip_id, SHOP, DEADLINE)
    assert (cancelled.status, held(cancelled)) == ("cancelled", [])


async def test_a_confirm_that_the_api_could_not_note_is_taken_again(
    asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API dies, or its record is away, after Temporal has taken the confirm."""
    trip = await hold(asked)
    faults.faults["reserve", KINDS[0]] = gate = Gate()

    async def away(trip_id: str) -> RecordedTrip:
        raise RecordUnavailable("The record is down")

    with monkeypatch.context() as broken, pytest.raises(RecordUnavailable):
        broken.setattr(asked._record.trips, "note_confirm", away)
        await asked.confirm(trip.trip_id, SHOP, DEADLINE)
    assert (await asked.look_up(trip.trip_id, SHOP)).status == "held"
    now = await asked.confirm(trip.trip_id, SHOP, 0)
    assert (now.status, now.closed_at, now.confirmed_at is None) == ("running", None, False)
    assert states(now) == ["booking", *["held"] * len(KINDS[1:])]
    await gate.open()
    assert (await ended(asked, trip.trip_id)).status == "booked"
    assert faults.tries("reserve", "hotel") == 2
