"""A look-up asks the record, and nobody else; it writes nothing, and shows a trip to its owner."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bookings import BookingNotFound, Bookings, Caller
from record import Record
from shared import KINDS, TripStatus
from tests.bookings.requests import (
    DESK,
    JOHN,
    NO_LAST,
    SHOP,
    UNASKED,
    held,
    planted,
    states,
)
from tests.conftest import IMPATIENT

STRANGER = Caller("another", operator=False)


@pytest.fixture
def quiet(record: Record, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bookings]:
    """Return bookings that may neither ask Temporal nor, from now on, write."""

    async def written(*_: object) -> None:
        raise AssertionError("The record was changed")

    def quiet() -> Bookings:
        monkeypatch.setattr(record.database, "write", written)
        return Bookings(UNASKED, record, IMPATIENT)

    return quiet


STATES: list[tuple[TripStatus, list[str], list[str], str | None]] = [
    ("running", [*["booked"] * len(KINDS[1:]), "booking"], [*KINDS[:-1]], None),
    ("booked", ["booked"] * len(KINDS), [*KINDS], None),
    ("rolled_back", ["undone"] * len(KINDS), [], NO_LAST),
]


@pytest.mark.parametrize(("status", "steps", "held_then", "reason"), STATES)
async def test_a_trip_is_shown_and_listed_without_asking_temporal_and_without_writing(
    record: Record,
    quiet: Callable[[], Bookings],
    status: TripStatus,
    steps: list[str],
    held_then: list[str],
    reason: str | None,
) -> None:
    user_id = await planted(record, status)
    asked = quiet()
    trip = await asked.look_up(user_id, SHOP)
    assert (trip.status, states(trip), held(trip)) == (status, steps, held_then)
    assert (trip.request, trip.owner, trip.reason) == (JOHN, SHOP.name, reason)
    assert await asked.page(None, 10, None, SHOP) == ([trip], None)
    assert await asked.page(status, 10, None, DESK) == ([trip], None)
    assert await asked.page(None, 10, None, STRANGER) == ([], None)
    if trip.closed_at is not None:
        assert await asked.look_up_after(trip, 60) == trip


Question = Callable[[Bookings, str, Caller], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "look up": lambda asked, user_id, caller: asked.look_up(user_id, caller),
    "cancel": lambda asked, user_id, caller: asked.cancel(user_id, caller, 60),
    "retry": lambda asked, user_id, caller: asked.repair(user_id, "car", caller),
    "resolve": lambda asked, user_id, caller: asked.repair(user_id, "car", caller, ""),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
async def test_nobody_learns_anything_of_anothers_trip(
    record: Record, quiet: Callable[[], Bookings], ask: Question
) -> None:
    user_id = await planted(record, "running")
    asked = quiet()
    with pytest.raises(BookingNotFound):
        await ask(asked, user_id, STRANGER)
    for unknown in ("nobody", "", "nul-\0", "half-a-character-\ud800", "x" * 5_000):
        with pytest.raises(BookingNotFound):
            await ask(asked, unknown, DESK)
