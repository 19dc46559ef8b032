"""The same key and request is the same trip for good, however often it is asked for, and where."""

import asyncio
import hashlib
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bookings import (
    BookingDiffers,
    BookingNotFound,
    Bookings,
    Caller,
    TemporalUnavailable,
    has_outcome,
)
from record import Record, RecordUnavailable
from shared import KINDS
from tests.bookings.requests import (
    DESK,
    DOOMED,
    JOHN,
    NO_LAST,
    SHOP,
    UNASKED,
    ended,
    leave,
    new_id,
    new_trip,
    planted,
    started,
    states,
    stub,
)
from tests.conftest import IMPATIENT
from tests.faults import FaultyRecord, Gate, refuse_for_good

KEY = "lisbon"


def over(client: Any, record: Record) -> Bookings:
    """Return bookings of a process of their own."""
    return Bookings(client, record, IMPATIENT)


# A repeated key


async def test_a_repeated_key_is_the_same_trip_also_in_another_process(record: Record) -> None:
    client = stub()
    first = await over(client, record).book("john-1", JOHN, "shop", 0, key=KEY)
    reordered = dict(reversed(JOHN.items())) | {"attempts": "5"}
    again = await over(client, record).book("john-2", reordered, "shop", 0, key=KEY)
    assert (again, again.trip_id, again.status) == (first, "john-1", "running")
    assert set(started(client)) == {"john-1"}
    assert len(await record.trips.page(10)) == 1


async def test_a_key_with_another_request_is_refused_and_starts_nothing(record: Record) -> None:
    client = stub()
    asked = over(client, record)
    await asked.book("john-1", JOHN, "shop", 0, key=KEY)
    with pytest.raises(BookingDiffers):
        await asked.book("john-2", DOOMED, "shop", 0, key=KEY)
    assert started(client) == ["john-1"]
    assert [row.request for row in await record.trips.page(10)] == [JOHN]


async def test_an_id_that_is_taken_is_not_booked_again(record: Record) -> None:
    asked = over(stub(), record)
    await asked.book("john-1", JOHN, "shop", 0)
    for request, owner in ((JOHN, "other"), (JOHN | {"car": "another"}, "shop")):
        with pytest.raises(BookingDiffers):
            await asked.book("john-1", request, owner, 0)


async def test_a_key_of_an_earlier_version_leads_to_its_trip(record: Record) -> None:
    former = hashlib.sha256(f"shop\n{KEY}".encode()).hexdigest()
    await record.trips.accept(new_trip("jo", key_fingerprint=former))
    assert (await over(stub(), record).book(new_id(), JOHN, "shop", 0, key=KEY)).trip_id == "jo"


async def test_thirty_at_once_of_one_key_are_one_trip_and_one_workflow(
    client: Client, record: Record, worker: None
) -> None:
    asked = [over(client, record) for _ in range(3)] * 10
    ids = [new_id() for _ in asked]
    booked = await asyncio.gather(
        *(
            each.book(user_id, JOHN, "shop", 60, key=KEY)
            for each, user_id in zip(asked, ids, strict=True)
        )
    )
    (user_id,) = {trip.trip_id for trip in booked}
    assert {trip.status for trip in booked} == {"booked"}
    assert len(await record.trips.page(100)) == 1
    assert {row.trip_id for row in await record.reservations.everything()} == {user_id}
    for other in set(ids) - {user_id}:
        with pytest.raises(RPCError, match="not found"):
            await client.get_workflow_handle(other).describe()


@pytest.mark.parametrize("status", ["booked", "rolled_back"])
async def test_a_key_gives_the_same_outcome_for_good_and_temporal_is_not_asked(
    record: Record, status: str
) -> None:
    user_id = (await over(stub(), record).book(new_id(), JOHN, "shop", 0, key=KEY)).trip_id
    await leave(record, user_id, status)
    asked = over(UNASKED, record)
    outcome = await asked.look_up(user_id, SHOP)
    assert outcome.status == status
    before = await record.reservations.everything()
    for seconds in (0, 60):
        assert await asked.book(new_id(), JOHN, "shop", seconds, key=KEY) == outcome
    with pytest.raises(BookingDiffers):
        await asked.book(new_id(), JOHN | {"car": "another"}, "shop", 60, key=KEY)
    assert await record.reservations.everything() == before
    assert len(await record.trips.page(10)) == 1


async def test_a_key_still_tells_that_it_was_booked_when_the_trip_was_cancelled(
    asked: Bookings, worker: None, record: Record
) -> None:
    user_id = await planted(record)
    await asked.cancel(user_id, SHOP, 60)
    again = await over(UNASKED, record).book(user_id, JOHN, "shop", 60)
    assert (again.trip_id, again.status, again.booked_at is not None) == (
        user_id,
        "cancelled",
        True,
    )
    assert states(again) == ["undone"] * len(KINDS)


# A trip that is handed to another owner

NOBODY = "anonymous"
"""Whose trips are that were booked while there were no API keys."""


async def hand_over(record: Record) -> None:
    while (await record.owners.hand_over(NOBODY, SHOP.name))[0]:
        pass


async def test_a_key_that_was_used_without_api_keys_books_nothing_again_after_the_hand_over(
    asked: Bookings, record: Record, worker: None
) -> None:
    first = await asked.book(new_id(), JOHN, NOBODY, 60, key=KEY)
    await hand_over(record)
    again = await over(UNASKED, record).book(new_id(), JOHN, SHOP.name, 60, key=KEY)
    assert (again.trip_id, again.status, again.owner) == (first.trip_id, "booked", SHOP.name)
    assert await asked.look_up(first.trip_id, SHOP) == again
    assert await asked.page("booked", 10, None, SHOP) == ([again], None)
    with pytest.raises(BookingNotFound):
        await asked.look_up(first.trip_id, Caller(NOBODY, operator=False))
    assert (await asked.cancel(first.trip_id, SHOP, 60)).status == "cancelled"


async def test_a_trip_that_runs_is_handed_over_and_goes_on(
    asked: Bookings, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    user_id = (await asked.book(new_id(), JOHN, NOBODY, 0, key=KEY)).trip_id
    await gate.reached()
    await hand_over(faults)
    again = asyncio.create_task(asked.book(new_id(), JOHN, SHOP.name, 60, key=KEY))
    await gate.open()
    trip = await again
    assert (trip.trip_id, trip.status, trip.owner) == (user_id, "booked", SHOP.name)
    assert len(await faults.trips.page(10)) == 1


async def test_a_trip_whose_start_has_failed_is_handed_over_and_started_by_the_repeat(
    record: Record,
) -> None:
    client = stub()
    client.start_workflow.side_effect = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    with pytest.raises(TemporalUnavailable):
        await over(client, record).book("john-1", JOHN, NOBODY, 0, key=KEY)
    await hand_over(record)
    client.start_workflow.side_effect = None
    again = await over(client, record).book("john-2", JOHN, SHOP.name, 0, key=KEY)
    assert (again.trip_id, started(client)) == ("john-1", ["john-1", "john-1"])
    assert client.start_workflow.await_args.args[1].owner == SHOP.name


async def test_a_repeat_of_what_was_handed_over_needs_not_be_admitted(record: Record) -> None:
    asked = over(stub(), record)
    await asked.book(new_id(), JOHN, NOBODY, 0, key=KEY)
    former = hashlib.sha256(f"{NOBODY}\nother".encode()).hexdigest()
    await record.trips.accept(new_trip("jo", owner=NOBODY, key_fingerprint=former))
    await hand_over(record)

    def refuse(owner: str) -> None:
        raise PermissionError(owner)

    asked.admit = refuse
    for key in (KEY, "other"):
        assert (await asked.book(new_id(), JOHN, SHOP.name, 0, key=key)).owner == SHOP.name


# A start that fails


async def test_a_trip_whose_start_has_failed_is_started_by_the_repeat(record: Record) -> None:
    client = stub()
    told: list[str] = []

    async def away(*_: object, **__: object) -> None:
        assert told == ["john-1"], "The id is told before Temporal is asked"
        raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")

    client.start_workflow.side_effect = away
    asked = over(client, record)
    with pytest.raises(TemporalUnavailable):
        await asked.book("john-1", JOHN, "shop", 60, key=KEY, on_id=told.append)
    assert (await asked.look_up("john-1", SHOP)).status == "running"
    client.start_workflow.side_effect = None
    again = await asked.book("john-2", JOHN, "shop", 0, key=KEY, on_id=told.append)
    assert (again.trip_id, told) == ("john-1", ["john-1", "john-1"])
    assert started(client) == ["john-1", "john-1"]


async def test_only_a_new_trip_needs_to_be_admitted_and_is_counted(record: Record) -> None:
    asked = over(stub(), record)
    admitted: list[str] = []
    accepted: list[None] = []
    asked.admit = admitted.append
    asked.on_accepted = lambda: accepted.append(None)
    for _ in range(3):
        await asked.book(new_id(), JOHN, "shop", 0, key=KEY)
    assert (admitted, accepted) == (["shop"], [None])
    with pytest.raises(BookingDiffers):
        await asked.book(new_id(), DOOMED, "shop", 0, key=KEY)
    assert admitted == ["shop"]

    def refuse(owner: str) -> None:
        raise PermissionError(owner)

    asked.admit = refuse
    with pytest.raises(PermissionError):
        await asked.book(new_id(), JOHN, "shop", 0, key="another")
    assert (await asked.book(new_id(), JOHN, "shop", 0, key=KEY)).status == "running"
    assert len(await record.trips.page(10)) == 1


# Waiting for the outcome


async def test_a_client_that_is_a_mock_books_and_the_record_tells_the_rest(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    user_id = new_id()
    logged = f"Temporal does not tell when {user_id} ends"
    async with asyncio.timeout(20):
        trip = await over(stub(), record).book(
            user_id, JOHN, "shop", 600, lambda: logged in caplog.text
        )
    assert (trip.status, states(trip)) == ("running", ["booking", *["pending"] * len(KINDS[1:])])


async def test_a_record_that_goes_away_meanwhile_ends_no_trip(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = over(stub(), record)
    first = await asked.book(new_id(), JOHN, "shop", 0, key=KEY)

    async def away(_: str) -> None:
        raise RecordUnavailable("away")

    monkeypatch.setattr(record.trips, "by_id", away)
    assert await asked.book(new_id(), JOHN, "shop", 0.1, key=KEY) == first


async def test_a_workflow_that_is_stopped_ends_the_wait_and_the_trip_is_told_as_recorded(
    client: Client, asked: Bookings, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    user_id = new_id()
    booking = asyncio.create_task(asked.book(user_id, JOHN, "shop", 600))
    await gate.reached()
    await client.get_workflow_handle(user_id).terminate()
    async with asyncio.timeout(20):
        trip = await booking
    assert (trip.status, trip.closed_at) == ("running", None), "The audit finds it out"
    await gate.open()


async def test_a_stuck_undo_ends_the_wait_for_every_request_of_its_key(
    asked: Bookings, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    user_id = new_id()
    async with asyncio.timeout(30):
        for _ in range(2):
            trip = await asked.book(user_id, DOOMED, "shop", 600, key=KEY)
            assert (trip.status, has_outcome(trip)) == ("needs_attention", False)
    await asked.repair(user_id, "hotel", DESK, "Cancelled by phone")
    rolled_back = await asked.book(new_id(), DOOMED, "shop", 60, key=KEY)
    assert rolled_back.reason == NO_LAST


async def test_a_trip_that_was_stopped_and_then_cancelled_has_that_outcome(
    asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults, "running")
    faults.faults["cancel", "hotel"] = refuse_for_good
    assert (await asked.cancel(user_id, DESK, 60)).status == "needs_attention"
    again = await asked.book(user_id, JOHN, "shop", 60)
    assert (again.status, has_outcome(again)) == ("needs_attention", False)
    await asked.repair(user_id, "hotel", DESK, "Cancelled by phone")
    await ended(asked, user_id)
    again = await asked.book(user_id, JOHN, "shop", 0)
    assert (again.status, has_outcome(again), again.booked_at) == ("cancelled", True, None)
