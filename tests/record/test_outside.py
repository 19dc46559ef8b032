"""What the record keeps of suppliers that are somebody else's, on both databases."""

import asyncio
import datetime as dt

import pytest

from record import Record, Reservation, ReservationRefused
from tests.record.trips import NOON, accepted, news, trip, trip_in

OVER, LATER = NOON + dt.timedelta(minutes=2), NOON + dt.timedelta(minutes=4)

SUPPLIER = "hotels.example"


async def begin(record: Record, *, instead_of: Reservation | None = None) -> str | None:
    """Begin a try, and return the state that an earlier one has left."""
    over_at = LATER if instead_of else OVER
    earlier = await record.outside.begin_try(trip(), "hotel", SUPPLIER, over_at, instead_of)
    return None if earlier is None else earlier.state


async def row(record: Record) -> Reservation:
    (held,) = await record.reservations.of("trip")
    return held


async def state(record: Record) -> tuple[str, dt.datetime | None]:
    held = await row(record)
    return held.state, held.over_at


async def test_of_two_tries_at_once_one_is_sent(record: Record) -> None:
    begun = await asyncio.gather(*(begin(record) for _ in range(8)))
    assert sorted(map(str, begun)) == ["None", *["asked"] * 7]


async def test_of_two_who_have_looked_for_the_same_try_one_sends_again(record: Record) -> None:
    await begin(record)
    seen = await row(record)
    begun = await asyncio.gather(*(begin(record, instead_of=seen) for _ in range(8)))
    assert sorted(map(str, begun)) == ["None", *["asked"] * 7]
    assert await state(record) == ("asked", LATER)


async def test_a_try_claims_its_trip(record: Record) -> None:
    await record.trips.accept(accepted())
    await begin(record)
    recorded = await trip_in(record)
    assert recorded.first_run_id == "first-run"
    with pytest.raises(ReservationRefused, match="is another trip's"):
        await record.outside.begin_try(trip(run="another"), "hotel", SUPPLIER, OVER)


async def test_a_trip_that_is_over_is_not_tried_any_more(record: Record) -> None:
    await record.trips.tell(trip(), news("rolled_back"))
    with pytest.raises(ReservationRefused, match="Trip trip is over"):
        await begin(record)
    assert await record.reservations.everything() == []


async def test_only_the_try_that_changed_nothing_is_forgotten(record: Record) -> None:
    await begin(record)
    await record.outside.end_try(trip(), "hotel", LATER, None)
    assert await state(record) == ("asked", OVER)
    await record.outside.end_try(trip(), "hotel", OVER, None)
    assert await state(record) == ("asked", None)
    assert await begin(record) is None


async def test_a_try_that_has_ended_is_over_then(record: Record) -> None:
    await begin(record)
    await record.outside.end_try(trip(), "hotel", OVER, NOON)
    assert await state(record) == ("asked", NOON)
    assert await begin(record) == "asked"


async def test_a_pending_try_is_begun_again_only_by_who_has_looked_for_it(record: Record) -> None:
    await begin(record)
    await record.outside.note_pending(trip(), "hotel")
    assert await begin(record) == "pending"
    assert await begin(record, instead_of=await row(record)) is None
    assert await state(record) == ("asked", LATER)


async def test_what_is_confirmed_stays_so(record: Record) -> None:
    await begin(record)
    for _ in range(2):
        await record.outside.confirm(trip(), "hotel", "QK7R2M")
    await record.outside.note_pending(trip(), "hotel")
    await record.outside.end_try(trip(), "hotel", OVER, NOON)
    assert await state(record) == ("reserved", None)
    assert await begin(record) == "reserved"


async def test_an_undo_refuses_every_later_try_and_every_later_answer(record: Record) -> None:
    await begin(record)
    held = await record.outside.begin_cancel(trip(), "hotel")
    assert held is not None
    assert (held.state, held.over_at) == ("asked", OVER)
    for call in (begin(record), record.outside.confirm(trip(), "hotel", "QK7R2M")):
        with pytest.raises(ReservationRefused, match="was undone already"):
            await call
    await record.outside.note_pending(trip(), "hotel")
    assert await state(record) == ("cancelling", OVER)


async def test_an_undo_learns_when_the_try_before_it_has_ended(record: Record) -> None:
    await begin(record)
    await record.outside.begin_cancel(trip(), "hotel")
    before = await row(record)
    await record.outside.end_try(trip(), "hotel", LATER, NOON)
    assert await row(record) == before
    await record.outside.end_try(trip(), "hotel", OVER, NOON)
    assert await state(record) == ("cancelling", NOON)
    assert (await row(record)).updated_at == before.updated_at


async def test_an_undo_that_goes_on_knows_that_it_does_and_since_when(record: Record) -> None:
    await begin(record)
    await record.outside.begin_cancel(trip(), "hotel")
    begun = await row(record)
    held = await record.outside.begin_cancel(trip(), "hotel")
    assert held == begun
    assert held.updated_at == begun.updated_at


async def test_what_is_released_stays_so(record: Record) -> None:
    await begin(record)
    await record.outside.begin_cancel(trip(), "hotel")
    await record.outside.released(trip(), "hotel")
    assert await record.outside.begin_cancel(trip(), "hotel") is None
    assert await state(record) == ("cancelled", None)


async def test_only_an_undo_that_has_begun_can_be_over(record: Record) -> None:
    await begin(record)
    await record.outside.released(trip(), "hotel")
    assert await state(record) == ("asked", OVER)
