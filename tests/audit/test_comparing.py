"""What is a difference, and what is none: a trip, and all that is known of it."""

import dataclasses
import datetime as dt
from typing import Any

import pytest

from audit.asking import Said
from audit.comparing import Look, compared
from record import UNHELD, RecordedTrip, Reservation, StepProgress
from shared import KINDS, Kind, StepState, TripStatus
from suppliers import AnotherItem, Confirmed, Held, Pending, Released
from tests.bookings.requests import new_trip

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def later(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


def accepted(**changes: Any) -> RecordedTrip:
    request = {kind: f"a-{kind}" for kind in KINDS}
    return new_trip("trip", **{"request": request, "accepted_at": NOON, **changes})


def steps(state: StepState) -> list[StepProgress]:
    return [StepProgress(kind, f"a-{kind}", state) for kind in KINDS]


def reservation(kind: Kind, state: Any = "reserved", **changes: Any) -> Reservation:
    valid = Reservation("trip", kind, f"a-{kind}", state, "first-run")
    return dataclasses.replace(valid, **changes)


def ended(status: TripStatus = "booked", **changes: Any) -> RecordedTrip:
    told = {"status": status, "first_run_id": "first-run", "closed_at": NOON, "told_at": NOON}
    as_told = steps("booked" if status == "booked" else "undone")
    return accepted(**{**told, "steps": as_told, **changes})


def differences(
    row: RecordedTrip,
    standing: TripStatus | None = None,
    held: dict[Kind, Said] | None = None,
    *,
    after: float = 600,
    **changed: Reservation | None,
) -> list[str]:
    """Return what differs of a trip whose rows are as they must be, but for what has changed."""
    state = "reserved" if row.status == "booked" else "cancelled"
    rows = {kind: reservation(kind, state) for kind in KINDS} | changed
    own = {kind: each for kind, each in rows.items() if each is not None}
    found = compared(Look(row, standing, own, held or {}), later(after))  # type: ignore[arg-type]
    return [each.kind for each in found]


@pytest.mark.parametrize("standing", [None, "booked"])
def test_a_booked_trip_that_holds_all_is_right(standing: TripStatus | None) -> None:
    held: dict[Kind, Said] = dict.fromkeys(KINDS, Confirmed("QK7R2M"))
    assert differences(ended(), standing, held) == []


@pytest.mark.parametrize("standing", [None, *UNHELD])
@pytest.mark.parametrize("status", UNHELD)
def test_a_trip_that_was_undone_and_holds_nothing_is_right(
    status: TripStatus, standing: TripStatus | None
) -> None:
    held: dict[Kind, Said] = {"car": Released(), "hotel": None}
    assert differences(ended(status), standing, held) == []
    assert differences(ended(status), standing, held, car=None, hotel=None, flight=None) == []


WRONG: dict[str, tuple[RecordedTrip, TripStatus | None, str]] = {
    "booked, and rolled back": (ended(), "rolled_back", "another_outcome"),
    "booked, and cancelled": (ended(), "cancelled", "another_outcome"),
    "rolled back, and booked": (ended("rolled_back"), "booked", "another_outcome"),
    "booked, and expired": (ended(), "expired", "another_outcome"),
    "expired, and booked": (ended("expired"), "booked", "another_outcome"),
    "cancelled, and booked": (ended("cancelled"), "booked", "another_outcome"),
    "booked, and running": (ended(), "running", "still_running"),
}


@pytest.mark.parametrize(("row", "standing", "kind"), WRONG.values(), ids=WRONG)
def test_the_workflows_own_word_is_compared(
    row: RecordedTrip, standing: TripStatus | None, kind: str
) -> None:
    assert differences(row, standing) == [kind]


def test_nothing_else_is_said_of_a_trip_whose_workflow_may_act() -> None:
    row = ended()
    assert differences(row, "running", car=None) == ["still_running"]
    assert differences(row, "running", car=None, after=30) == [], "It may be about to close"
    assert differences(ended("needs_attention"), None, car=None) == []
    assert differences(ended(closed_at=None), None, car=None) == []
    assert differences(ended("held", closed_at=None), "running", car=None) == []


HELD_WRONG: dict[str, tuple[TripStatus, Said, list[str]]] = {
    "booked, nothing": ("booked", None, ["not_held"]),
    "booked, cancelled": ("booked", Released(), ["not_held"]),
    "booked, undecided": ("booked", Pending(), ["not_held"]),
    "booked, only held": ("booked", Held(600), ["not_held"]),
    "booked, another": ("booked", AnotherItem("x"), ["another_item"]),
    "undone, held": ("cancelled", Confirmed(), ["held_after_end"]),
    "undone, undecided": ("rolled_back", Pending(), ["held_after_end"]),
    "undone, only held": ("rolled_back", Held(600), ["held_after_end"]),
    "expired, only held": ("expired", Held(600), ["held_after_end"]),
    "expired, confirmed": ("expired", Confirmed(), ["held_after_end"]),
    "expired, nothing": ("expired", None, []),
    "undone, another": ("rolled_back", AnotherItem("x"), ["held_after_end"]),
}


@pytest.mark.parametrize(("status", "held", "kinds"), HELD_WRONG.values(), ids=HELD_WRONG)
def test_the_suppliers_word_is_compared(status: TripStatus, held: Said, kinds: list[str]) -> None:
    assert differences(ended(status), None, {"hotel": held}) == kinds


@pytest.mark.parametrize("state", ["asked", "pending", "held", "quoted", "cancelling"])
def test_rows_must_be_reserved_of_a_booked_trip_and_cancelled_of_others(state: str) -> None:
    assert differences(ended(), car=reservation("car", state)) == ["not_held"]
    for status in UNHELD:
        assert differences(ended(status), car=reservation("car", state)) == ["held_after_end"]


def test_what_is_resolved_is_an_operators_word() -> None:
    row = ended("rolled_back", steps=steps("resolved"))
    held: dict[Kind, Said] = {"hotel": Confirmed()}
    assert differences(row, None, held, car=reservation("car", "reserved")) == []


def test_a_reservation_that_names_no_workflow_is_not_anothers() -> None:
    assert differences(ended(), car=reservation("car", first_run_id=None)) == []
    assert differences(ended(), car=reservation("car", first_run_id="b")) == ["not_held"]
