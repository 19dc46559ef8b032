"""A look-up asks the record, and nobody else; it writes nothing, and shows a trip to its owner."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bookings import BookingNotFound, Bookings, Caller
from record import Record, RecordedTrip
from shared import BookVacationInput, Execution, TripNews, TripStatus
from tests.bookings.requests import DESK, JOHN, SHOP, UNASKED, held, states
from tests.conftest import IMPATIENT

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)

USER_ID = "john-1"

TRIP = BookVacationInput(
    5,
    USER_ID,
    JOHN["car"],
    JOHN["hotel"],
    JOHN["flight"],
    execution=Execution(USER_ID, "first-run"),
)


@pytest.fixture
async def accepted(record: Record) -> Record:
    """A record with one trip, which is about to be booked."""
    row = RecordedTrip(USER_ID, SHOP.name, dict(JOHN), "running", USER_ID, NOON)
    await record.trips.accept(row)
    return record


@pytest.fixture
def quiet(accepted: Record, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bookings]:
    """Return bookings that may neither ask Temporal nor, from now on, write."""

    async def written(*_: object) -> None:
        raise AssertionError("The record was changed")

    def quiet() -> Bookings:
        monkeypatch.setattr(accepted.database, "write", written)
        return Bookings(UNASKED, accepted, IMPATIENT)

    return quiet


async def tell(record: Record, status: TripStatus, reason: str | None = None) -> None:
    await record.trips.tell(TRIP, TripNews(status, reason, dt.datetime.now(dt.UTC), NOON))


async def begin(record: Record) -> None:
    await record.reservations.reserve(TRIP, "car")


async def fail(record: Record) -> None:
    await begin(record)
    await record.reservations.count_failure(TRIP, "hotel", "Busy", final=False)


async def book(record: Record) -> None:
    for kind in ("car", "hotel", "flight"):
        await record.reservations.reserve(TRIP, kind)
    await tell(record, "booked")


async def get_stuck(record: Record) -> None:
    await begin(record)
    await record.reservations.reserve(TRIP, "hotel")
    await record.reservations.count_failure(TRIP, "flight", "Full", final=True)
    await record.reservations.cancel(TRIP, "flight")
    await record.reservations.give_up_undo(TRIP, "hotel", "Not refundable")
    await record.reservations.cancel(TRIP, "car")


async def begin_cancellation(record: Record) -> None:
    await book(record)
    await record.trips.begin_cancellation(USER_ID)
    await record.reservations.cancel(TRIP, "flight")


async def cancel(record: Record) -> None:
    await begin_cancellation(record)
    await record.reservations.cancel(TRIP, "hotel")
    await record.reservations.cancel(TRIP, "car")
    await tell(record, "cancelled", "Cancelled on request")


async def nothing(record: Record) -> None:
    """Leave it as it was accepted."""


ALL = ["car", "hotel", "flight"]
STATES: list[tuple[Callable[[Record], Awaitable[None]], TripStatus, list[str], list[str]]] = [
    (nothing, "running", ["booking", "pending", "pending"], []),
    (begin, "running", ["booked", "booking", "pending"], ["car"]),
    (fail, "running", ["booked", "booking", "pending"], ["car"]),
    (book, "booked", ["booked"] * 3, ALL),
    (get_stuck, "needs_attention", ["undone", "stuck", "undone"], ["hotel"]),
    (begin_cancellation, "running", ["booked", "undoing", "undone"], ["car", "hotel"]),
    (cancel, "cancelled", ["undone"] * 3, []),
]


@pytest.mark.parametrize(("come", "status", "steps", "held_then"), STATES)
async def test_a_trip_is_shown_and_listed_without_asking_temporal_and_without_writing(
    accepted: Record,
    quiet: Callable[[], Bookings],
    come: Callable[[Record], Awaitable[None]],
    status: TripStatus,
    steps: list[str],
    held_then: list[str],
) -> None:
    await come(accepted)
    asked = quiet()
    trip = await asked.look_up(USER_ID, SHOP)
    assert (trip.status, states(trip), held(trip)) == (status, steps, held_then)
    assert (trip.started_at, trip.request, trip.owner) == (NOON, JOHN, SHOP.name)
    assert await asked.page(None, 10, None, SHOP) == ([trip], None)
    assert await asked.page(status, 10, None, DESK) == ([trip], None)
    if trip.closed_at is not None:
        assert await asked.look_up_after(USER_ID, SHOP, 60) == trip


async def test_a_failed_try_shows_how_often_and_why(
    accepted: Record, quiet: Callable[[], Bookings]
) -> None:
    await fail(accepted)
    car, hotel, _ = (await quiet().look_up(USER_ID, SHOP)).steps
    assert (car.attempts, car.last_error) == (1, None)
    assert (hotel.attempts, hotel.last_error) == (2, "Busy")


async def test_a_cancelled_trip_still_tells_that_it_was_booked(
    accepted: Record, quiet: Callable[[], Bookings]
) -> None:
    await cancel(accepted)
    trip = await quiet().look_up(USER_ID, SHOP)
    assert trip.was_booked and trip.has_outcome
    assert trip.reason == "Cancelled on request"


Question = Callable[[Bookings, str, Caller], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "look up": lambda asked, user_id, caller: asked.look_up(user_id, caller),
    "wait": lambda asked, user_id, caller: asked.look_up_after(user_id, caller, 60),
    "cancel": lambda asked, user_id, caller: asked.cancel(user_id, caller, 60),
    "retry": lambda asked, user_id, caller: asked.retry_undo(user_id, "car", caller),
    "resolve": lambda asked, user_id, caller: asked.resolve_undo(user_id, "car", "", caller),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
async def test_nobody_learns_anything_of_anothers_trip(
    quiet: Callable[[], Bookings], ask: Question
) -> None:
    asked = quiet()
    with pytest.raises(BookingNotFound):
        await ask(asked, USER_ID, Caller("another", operator=False))
    for unknown in ("nobody", "", "nul-\0", "half-a-character-\ud800", "x" * 5_000):
        with pytest.raises(BookingNotFound):
            await ask(asked, unknown, DESK)


async def test_a_list_shows_nothing_of_anothers_trip(quiet: Callable[[], Bookings]) -> None:
    assert await quiet().page(None, 10, None, Caller("another", operator=False)) == ([], None)
