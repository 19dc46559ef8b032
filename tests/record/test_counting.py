"""Failures are counted where they happen, and what is given up books no more, on both databases."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from record import Record, Reservation, ReservationRefused
from shared import KINDS, BookVacationInput
from tests.record.databases import unchanged
from tests.record.trips import accepted, news, trip, trip_in, with_item

SUPPLIER = "hotels.example"

OVER = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)


async def fail(
    record: Record, words: str = "No answer", trip_id: str = "trip", *, final: bool = False
) -> int:
    """Count a failure to book the hotel of a trip that has three attempts."""
    return await record.reservations.count_failure(trip(trip_id), "hotel", words, final=final)


async def row(record: Record, trip_id: str = "trip") -> Reservation:
    (held,) = [each for each in await record.reservations.of(trip_id) if each.kind == "hotel"]
    return held


async def reserve(record: Record, own: BookVacationInput) -> None:
    await record.reservations.reserve(own, "hotel")


async def begin_try(record: Record, own: BookVacationInput) -> None:
    await record.outside.begin_try(own, "hotel", SUPPLIER, OVER)


async def begin_it_again(record: Record, own: BookVacationInput) -> None:
    await record.outside.begin_try(
        own, "hotel", SUPPLIER, OVER, await row(record, own.book_user_id)
    )


BOOKINGS: list[Callable[[Record, BookVacationInput], Awaitable[None]]] = [
    *(reserve, begin_try, begin_it_again)
]


async def refused(
    record: Record, words: str = "hotel of trip .* was undone already", trip_id: str = "trip"
) -> None:
    """Check that nothing books the hotel any more, and that trying changes nothing."""
    before = await record.reservations.of(trip_id)
    for book in BOOKINGS:
        with pytest.raises(ReservationRefused, match=words):
            await book(record, trip(trip_id))
    assert await record.reservations.of(trip_id) == before


# Booking


async def test_failures_are_counted_with_the_last_words(record: Record) -> None:
    assert [await fail(record, words) for words in ("Down", "Still down")] == [1, 2]
    held = await row(record)
    assert (held.state, held.over_at, held.item) == ("asked", None, "a-hotel")
    assert (held.failures, held.last_error, held.verdict) == (2, "Still down", None)


async def test_at_as_many_failures_as_attempts_the_step_is_given_up(record: Record) -> None:
    assert [await fail(record, f"Failure {number}") for number in range(3)] == [1, 2, 3]
    assert (await row(record)).verdict == "failed"
    await refused(record, r"\AFailure 2\Z")


async def test_a_final_word_gives_the_step_up_at_once_and_is_never_counted_again(
    record: Record,
) -> None:
    assert await fail(record, "No room", final=True) == 1
    assert (await row(record)).verdict == "failed"
    with unchanged(record):
        # The next try finds it given up, says so in the same words, and is counted: as nothing.
        await refused(record, r"\ANo room\Z")
        assert await fail(record, "No room", final=True) == 0
        assert await fail(record, "Something else") == 0


async def test_a_try_after_a_failure_books(record: Record) -> None:
    await fail(record)
    await record.reservations.reserve(trip(), "hotel", seconds=1.5)
    held = await row(record)
    assert (held.state, held.failures, held.last_error) == ("reserved", 1, "No answer")
    await record.reservations.reserve(trip(), "hotel", seconds=9.5)
    steps = (await trip_in(record)).steps
    assert [step.booking_seconds for step in steps] == [None, 1.5, *[None] * len(KINDS[2:])]


async def test_a_try_after_a_failure_may_be_sent_to_a_supplier_outside(record: Record) -> None:
    await fail(record)
    assert await record.outside.begin_try(trip(), "hotel", SUPPLIER, OVER) is None
    held = await row(record)
    assert (held.state, held.supplier, held.over_at) == ("asked", SUPPLIER, OVER)
    assert await fail(record) == 2
    assert (await row(record)).over_at == OVER, "What was sent may still take effect"


async def test_a_failure_does_not_change_what_may_be_asked_for(record: Record) -> None:
    await fail(record)
    for book in BOOKINGS:
        with pytest.raises(ReservationRefused):
            await book(record, with_item("hotel", "another"))


async def test_of_many_last_failures_at_once_none_goes_beyond_the_attempts(
    pair: tuple[Record, Record],
) -> None:
    counted = await asyncio.gather(*(fail(record) for record in pair for _ in range(10)))
    assert sorted(counted) == [*[0] * 17, 1, 2, 3]
    held = await row(pair[0])
    assert (held.failures, held.verdict) == (3, "failed")


# How a step may stand


MAY_BE_STUCK = ["nothing", "asked", "failed once", "given up", "booked", "cancelling"]
UNDONE = ["cancelled", "resolved", "of another"]
OVER_AND_OUT = ["over", "completed by hand", "stopped"]


async def each(record: Record, standings: list[str]) -> AsyncIterator[str]:
    """Yield a trip whose hotel stands so, for each."""
    for standing in standings:
        await bring_to(record, standing)
        yield standing


async def bring_to(record: Record, standing: str) -> None:
    """Have the hotel of the trip of that id stand so."""
    own = trip(standing)
    match standing:
        case "asked":
            await begin_try(record, own)
        case "failed once":
            await fail(record, trip_id=standing)
        case "given up":
            await fail(record, "No room", standing, final=True)
        case "booked":
            await reserve(record, own)
        case "cancelling":
            await begin_try(record, own)
            await record.outside.begin_cancel(own, "hotel")
        case "cancelled":
            await record.reservations.cancel(own, "hotel")
        case "resolved":
            await record.reservations.resolve(own, "hotel", "By telephone")
        case "of another":
            await reserve(record, trip(standing, "another"))
        case "wants another item":
            await record.trips.accept(accepted(standing, request={"hotel": "another"}))
        case "over":
            await record.trips.tell(own, news("rolled_back"))
        case "completed by hand":
            await record.trips.tell(own, news("booked"))
        case "stopped":
            await record.reservations.reserve(own, "car")
            await record.trips.found(await trip_in(record, standing), "needs_attention", "Stopped")
        case _:
            assert standing == "nothing"


async def test_a_failure_changes_nothing_once_there_is_nothing_to_book(record: Record) -> None:
    standings = ["booked", "cancelling", "given up", "wants another item"]
    async for trip_id in each(record, [*UNDONE, *OVER_AND_OUT, *standings]):
        with unchanged(record):
            assert await fail(record, "Late words", trip_id) == 0, trip_id
            assert await fail(record, "Late words", trip_id, final=True) == 0, trip_id


# Undoing


async def fail_to_undo(record: Record, words: str, trip_id: str) -> int:
    return await record.reservations.count_undo_failure(trip(trip_id), "hotel", words)


async def give_up_undo(record: Record, trip_id: str, words: str = "No refund") -> None:
    await record.reservations.give_up_undo(trip(trip_id), "hotel", words)


async def test_failures_to_undo_are_counted_with_the_last_words(record: Record) -> None:
    async for trip_id in each(record, ["booked", "cancelling", "given up"]):
        before = await row(record, trip_id)
        assert await fail_to_undo(record, "Down", trip_id) == 1
        assert await fail_to_undo(record, "Still down", trip_id) == 2
        held = await row(record, trip_id)
        assert held == before, "Nothing else has changed"
        assert (held.undo_failures, held.last_error) == (2, "Still down")
        assert held.failures == before.failures


async def test_a_failure_to_undo_changes_nothing_once_the_step_is_undone(record: Record) -> None:
    async for trip_id in each(record, UNDONE):
        with unchanged(record):
            assert await fail_to_undo(record, "Late words", trip_id) == 0, trip_id


async def test_an_undo_that_is_given_up_needs_attention_and_refuses_late_bookings(
    record: Record,
) -> None:
    async for trip_id in each(record, MAY_BE_STUCK):
        for _ in range(2):
            await give_up_undo(record, trip_id)
            held = await row(record, trip_id)
            assert (held.verdict, held.last_error) == ("stuck", "No refund"), trip_id
            assert (await trip_in(record, trip_id)).status == "needs_attention"
        await refused(record, trip_id=trip_id)
        assert await fail(record, trip_id=trip_id) == 0


async def test_a_stuck_undo_that_is_tried_again_is_not_stuck_and_refuses_late_bookings(
    record: Record,
) -> None:
    async for trip_id in each(record, MAY_BE_STUCK):
        await give_up_undo(record, trip_id)
        await record.outside.begin_cancel(trip(trip_id), "hotel")
        held = await row(record, trip_id)
        assert held.verdict is None, trip_id
        assert held.state in ("cancelling", "cancelled"), trip_id
        await refused(record, trip_id=trip_id)
        await give_up_undo(record, trip_id, "Still no refund")
        is_stuck = (await row(record, trip_id)).verdict == "stuck"
        assert is_stuck is (held.state == "cancelling"), trip_id


async def test_a_stuck_undo_that_succeeds_is_undone_and_refuses_late_bookings(
    record: Record,
) -> None:
    async for trip_id in each(record, ["nothing", "failed once", "given up", "booked"]):
        await give_up_undo(record, trip_id)
        await record.reservations.cancel(trip(trip_id), "hotel")
        assert (await trip_in(record, trip_id)).steps[1].state == "undone", trip_id
        await refused(record, trip_id=trip_id)
        with unchanged(record):
            await give_up_undo(record, trip_id, "Late words")
            await record.reservations.resolve(trip(trip_id), "hotel", "Late note")


async def test_an_undo_is_not_given_up_once_the_step_is_undone(record: Record) -> None:
    async for trip_id in each(record, UNDONE):
        with unchanged(record):
            await give_up_undo(record, trip_id)


async def test_an_undo_that_is_given_up_late_does_not_open_a_trip_that_is_over(
    record: Record,
) -> None:
    async for trip_id in each(record, OVER_AND_OUT):
        before = await trip_in(record, trip_id)
        await give_up_undo(record, trip_id)
        assert await trip_in(record, trip_id) == before


async def test_a_stuck_undo_is_its_own_trips_only(record: Record) -> None:
    await record.reservations.reserve(trip("another"), "hotel")
    await give_up_undo(record, "trip")
    assert (await trip_in(record, "another")).status == "running"
    assert (await row(record, "another")).verdict is None


# An operator's word


async def test_an_operators_word_settles_a_step_and_refuses_late_bookings(record: Record) -> None:
    async for trip_id in each(record, MAY_BE_STUCK):
        before = await record.reservations.of(trip_id)
        await give_up_undo(record, trip_id)
        for note in ("By telephone", "Another note"):
            await record.reservations.resolve(trip(trip_id), "hotel", note)
        held = await row(record, trip_id)
        assert (held.state, held.over_at) == ("cancelled", None), trip_id
        assert (held.verdict, held.note) == ("resolved", "By telephone"), trip_id
        assert held.failures == (before[0].failures if before else 0), trip_id
        await refused(record, trip_id=trip_id)
        with pytest.raises(ReservationRefused, match="was undone already"):
            await record.outside.confirm(trip(trip_id), "hotel", "H-1")


async def test_an_answer_that_comes_when_a_step_is_given_up_is_kept_for_its_undo(
    record: Record,
) -> None:
    """The supplier holds it, whatever was given up meanwhile."""
    await begin_try(record, trip())
    await fail(record, final=True)
    await record.outside.confirm(trip(), "hotel", "H-1", seconds=2.0)
    await refused(record, r"\ANo answer\Z")
    held = await record.outside.begin_cancel(trip(), "hotel")
    assert held is not None and held.reference == "H-1"
