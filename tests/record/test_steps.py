"""How a trip's steps stand, by its row and those of its reservations. No database is asked."""

import dataclasses
from typing import Any

import pytest

from record import RecordedTrip
from record.steps import Row, steps_in
from shared import KINDS, Price, TripStatus
from tests.record.trips import NOON, OF_THREE, accepted

CAR, HOTEL, FLIGHT = KINDS[:3]


@dataclasses.dataclass(frozen=True)
class Kept:
    """The columns of a reservation's row that tell of its step."""

    state: str
    verdict: str | None = None
    failures: int = 0
    undo_failures: int = 0
    booking_seconds: float | None = None
    undo_seconds: float | None = None
    last_error: str | None = None
    note: str | None = None
    reference: str | None = None
    price: Price | None = None
    refund: Price | None = None


RESERVED = Kept("reserved", booking_seconds=0.5)
UNDONE = Kept("cancelled", booking_seconds=0.5, undo_seconds=0.2)
ONCE_FAILED = Kept("asked", failures=1)
FAILED = Kept("asked", "failed", failures=3)
TOMBSTONE = Kept("cancelled")
CANCELLING = Kept("cancelling", booking_seconds=0.5)
STUCK = Kept("reserved", "stuck", undo_failures=2, booking_seconds=0.5)
RESOLVED = Kept("cancelled", "resolved", undo_failures=2, booking_seconds=0.5)

RUNNING = accepted(request=OF_THREE)
GOES_BACK = accepted(request=OF_THREE, booked_at=NOON, cancelled_at=NOON)


def ended(status: TripStatus) -> RecordedTrip:
    return accepted(request=OF_THREE, status=status, closed_at=NOON)


def steps(trip: RecordedTrip, *kept: Kept | None) -> list[Any]:
    """Return the steps of a trip of which these rows are kept, in the order of booking."""
    rows: dict[str, Row] = {
        kind: row  # type: ignore[misc]  # It has the columns that are read.
        for kind, row in zip(KINDS, kept, strict=False)
        if row is not None
    }
    return list(steps_in(trip, rows))


@pytest.mark.parametrize(
    ("trip", "kept", "expected"),
    [
        # A trip that goes on: what runs is the first step that is not booked.
        (RUNNING, [], "booking pending pending"),
        (RUNNING, [RESERVED], "booked booking pending"),
        (RUNNING, [RESERVED, Kept("pending")], "booked booking pending"),
        (RUNNING, [RESERVED, RESERVED, ONCE_FAILED], "booked booked booking"),
        (RUNNING, [RESERVED, RESERVED, RESERVED], "booked booked booked"),
        # An operator has completed the car by hand: nobody has told the record.
        (RUNNING, [None, RESERVED], "booking booked pending"),
        # One that goes back: what runs is the last step that is not undone.
        (RUNNING, [FAILED], "undoing pending pending"),
        (RUNNING, [RESERVED, FAILED], "booked undoing pending"),
        (RUNNING, [RESERVED, TOMBSTONE], "undoing undone pending"),
        (RUNNING, [RESERVED, UNDONE, TOMBSTONE], "undoing undone undone"),
        (RUNNING, [RESERVED, RESERVED, CANCELLING], "booked booked undoing"),
        # Cancelled while the hotel was tried; the flight was never tried.
        (RUNNING, [RESERVED, CANCELLING], "booked undoing pending"),
        (RUNNING, [RESERVED, Kept("asked"), TOMBSTONE], "booked undoing undone"),
        # A step that its supplier took its time to undo lets the others go first.
        (RUNNING, [RESERVED, CANCELLING, UNDONE], "booked undoing undone"),
        # The cancellation of a booked trip.
        (GOES_BACK, [RESERVED, RESERVED, RESERVED], "booked booked undoing"),
        (GOES_BACK, [RESERVED, RESERVED, UNDONE], "booked undoing undone"),
        (GOES_BACK, [RESERVED, None, RESERVED], "booked pending undoing"),
        (GOES_BACK, [UNDONE, UNDONE, UNDONE], "undone undone undone"),
        # Stuck undos, which do not stop the others.
        (RUNNING, [RESERVED, STUCK, UNDONE], "undoing stuck undone"),
        (RUNNING, [UNDONE, STUCK, UNDONE], "undone stuck undone"),
        (RUNNING, [UNDONE, Kept("cancelling", "stuck"), UNDONE], "undone stuck undone"),
        # While a try of a stuck undo runs, it is `undoing`, and the other one is not.
        (RUNNING, [STUCK, CANCELLING, UNDONE], "stuck undoing undone"),
        # One that was stuck and has succeeded.
        (RUNNING, [UNDONE, Kept("cancelled", "stuck"), UNDONE], "undone undone undone"),
        (RUNNING, [UNDONE, RESOLVED, UNDONE], "undone resolved undone"),
        (RUNNING, [STUCK, RESOLVED, UNDONE], "stuck resolved undone"),
        # A trip that is over: nothing runs.
        (ended("booked"), [RESERVED, None, ONCE_FAILED], "booked booked booked"),
        (ended("rolled_back"), [], "pending pending pending"),
        (ended("rolled_back"), [UNDONE, TOMBSTONE], "undone undone pending"),
        (ended("cancelled"), [UNDONE, RESOLVED, UNDONE], "undone resolved undone"),
        # One that was stopped from outside stays as it is.
        (ended("needs_attention"), [RESERVED, ONCE_FAILED], "booked booking pending"),
        (ended("needs_attention"), [RESERVED, FAILED], "booked failed pending"),
        (ended("needs_attention"), [RESERVED, STUCK, UNDONE], "booked stuck undone"),
        (ended("needs_attention"), [RESERVED, CANCELLING, UNDONE], "booked undoing undone"),
    ],
)
def test_the_states_of_the_steps(
    trip: RecordedTrip, kept: list[Kept | None], expected: str
) -> None:
    assert " ".join(step.state for step in steps(trip, *kept)) == expected


@pytest.mark.parametrize(
    ("trip", "car", "attempts", "undo_attempts"),
    [
        (RUNNING, None, 1, 0),
        (RUNNING, ONCE_FAILED, 2, 0),
        (RUNNING, RESERVED, 1, 0),
        (RUNNING, Kept("reserved", failures=2, booking_seconds=3.0), 3, 0),
        (RUNNING, FAILED, 3, 1),
        (RUNNING, STUCK, 1, 2),
        (RUNNING, dataclasses.replace(STUCK, state="cancelling"), 1, 2),
        (RUNNING, Kept("cancelling", undo_failures=2, booking_seconds=0.5), 1, 3),
        (RUNNING, Kept("cancelled", "stuck", undo_failures=2, booking_seconds=0.5), 1, 3),
        (RUNNING, RESOLVED, 1, 2),
        (GOES_BACK, dataclasses.replace(RESERVED, undo_failures=1), 1, 2),
        (ended("rolled_back"), Kept("cancelled", "failed", failures=3), 3, 1),
        (ended("rolled_back"), None, 0, 0),
        (ended("needs_attention"), ONCE_FAILED, 1, 0),
        (ended("booked"), None, 0, 0),
    ],
)
def test_the_failures_and_the_try_that_runs_or_has_succeeded_are_the_attempts(
    trip: RecordedTrip, car: Kept | None, attempts: int, undo_attempts: int
) -> None:
    step = steps(trip, car)[0]
    assert (step.attempts, step.undo_attempts) == (attempts, undo_attempts)


@pytest.mark.parametrize(
    ("kept", "held"),
    [
        (None, False),
        (ONCE_FAILED, False),
        (Kept("pending"), False),
        (RESERVED, True),
        (STUCK, True),
        (CANCELLING, True),
        (Kept("cancelling"), False),
        (Kept("cancelling", "stuck", booking_seconds=0.5), True),
        (UNDONE, False),
        (RESOLVED, False),
    ],
)
def test_what_is_confirmed_and_not_undone_is_held(kept: Kept | None, held: bool) -> None:
    assert steps(GOES_BACK, kept)[0].held is held


def test_a_step_has_the_words_and_the_times_of_its_row() -> None:
    told = {
        "last_error": "No refund",
        "note": "By telephone",
        "reference": "QK7R2M",
        "booking_seconds": 0.5,
        "undo_seconds": 0.2,
    }
    step = steps(RUNNING, Kept("cancelled", **told))[0]  # type: ignore[arg-type]
    assert {name: getattr(step, name) for name in told} == told


def test_a_trip_has_the_steps_that_it_asked_for() -> None:
    """A trip that is older than a kind does not want it; a kind that came later is unknown."""
    older = accepted(request={"flight": "a-flight", "car": "a-car", "hotel": None, "boat": "x"})
    assert [(step.kind, step.item) for step in steps(older)] == [
        *(("car", "a-car"), ("flight", "a-flight"))
    ]
