"""A trip as the record has it, and its steps, of which the rows of its reservations tell.

A trip goes step by step. So what runs now follows from the rest: of a trip that goes on, the first
step that is not booked; of a trip that goes back, the last step that is not undone.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from record.actions import Action
from shared import KINDS, Kind, Price, StepState, TripStatus, total_of

STATES: dict[str, StepState] = {
    "asked": "booking",
    "pending": "booking",
    "held": "held",
    "quoted": "quoted",
    "reserved": "booked",
    "cancelling": "undoing",
    "cancelled": "undone",
}
"""The state of a step by that of its reservation, while nobody has given it up."""

Row = sa.Row[Any]


@dataclass
class StepProgress:
    """How far one step of a trip has come."""

    kind: Kind
    item: str
    state: StepState = "pending"
    attempts: int = 0
    """The supplier's failures to book it, and the try that runs or has succeeded."""
    undo_attempts: int = 0
    """The supplier's failures to undo it, and the try that runs or has succeeded."""
    last_error: str | None = None
    """The supplier's words when it failed last."""
    note: str | None = None
    """What the operator wrote who resolved a stuck undo."""
    held: bool = False
    """Whether the supplier has confirmed the booking, and it was not undone since."""
    reference: str | None = None
    """The supplier's own name for the booking."""
    booking_seconds: float | None = None
    """How long it took to book the step, all tries and waits included."""
    undo_seconds: float | None = None
    """How long the undo took that succeeded, all its tries and waits included; `None`: there was
    nothing to undo."""
    price: Price | None = None
    """What it costs, if the supplier tells it."""
    refund: Price | None = None
    """What the supplier gives back for the undo, if it tells it."""


@dataclass(frozen=True)
class RecordedTrip:
    """A trip as the record has it."""

    trip_id: str
    owner: str
    """Whose trip it is."""
    request: dict[str, Any]
    """What the traveller asked for, by the names of the API's request."""
    status: TripStatus
    workflow_id: str
    accepted_at: dt.datetime
    key_fingerprint: str | None = None
    """Stands for the idempotency key of its request."""
    first_run_id: str | None = None
    """Of the execution that the trip belongs to; `None`: no execution has claimed it."""
    booked_at: dt.datetime | None = None
    """When it was booked, also if it was cancelled later."""
    reason: str | None = None
    """Why it was rolled back or cancelled, or needs attention."""
    cancelled_at: dt.datetime | None = None
    """When the cancellation of the trip, which was over, was asked for."""
    closed_at: dt.datetime | None = None
    """When its workflow ended, by itself or stopped from outside."""
    told_at: dt.datetime | None = None
    """When the workflow last told of the trip, by its own time."""
    cancel_asked_at: dt.datetime | None = None
    """When Temporal took the order to cancel the trip, which was running."""
    expires_at: dt.datetime | None = None
    """Until when it is held; `None`: its steps were never all held."""
    confirmed_at: dt.datetime | None = None
    """When Temporal had taken the traveller's word to book what is held."""
    steps: list[StepProgress] = field(default_factory=list, compare=False)
    """How the steps stand."""
    actions: list[Action] = field(default_factory=list, compare=False)
    """What callers have had done to it. Only a look-up of the one trip tells of them."""

    @property
    def price(self) -> Price | None:
        """What the trip costs, if all its steps have prices of one currency."""
        return total_of(step.price for step in self.steps)


def steps_in(trip: RecordedTrip, reserved: Mapping[str, Row]) -> list[StepProgress]:
    """Return the steps of a trip by its own row and those of its reservations, by kind."""
    wanted: list[tuple[Kind, str | None]] = [(kind, trip.request.get(kind)) for kind in KINDS]
    steps = [_step(kind, item, reserved.get(kind)) for kind, item in wanted if item is not None]
    if trip.closed_at is None and trip.status != "held":
        _show_what_runs(steps, _goes_back(trip, reserved), confirmed=trip.confirmed_at is not None)
    elif trip.status == "booked":
        for step in steps:
            # Also one that an operator completed by hand, of which the record knows nothing.
            step.state = "booked"
    return steps


def _step(kind: Kind, item: str, row: Row | None) -> StepProgress:
    if row is None:
        return StepProgress(kind, item)
    was_booked = row.booking_seconds is not None
    state = _state(row)
    return StepProgress(
        kind,
        item,
        state,
        attempts=row.failures + was_booked,
        undo_attempts=row.undo_failures + (state in ("undoing", "undone")),
        last_error=row.last_error,
        note=row.note,
        held=row.state in ("reserved", "held") or (row.state == "cancelling" and was_booked),
        reference=row.reference,
        booking_seconds=row.booking_seconds,
        undo_seconds=row.undo_seconds,
        price=row.price,
        refund=row.refund,
    )


def _state(row: Row) -> StepState:
    match row.verdict, row.state:
        case "resolved", _:
            return "resolved"
        case "stuck", state if state != "cancelled":
            return "stuck"
        case "failed", "asked" | "pending":
            return "failed"
    return STATES[row.state]


def _goes_back(trip: RecordedTrip, reserved: Mapping[str, Row]) -> bool:
    return trip.cancelled_at is not None or any(
        row.verdict is not None or row.state in ("cancelling", "cancelled")
        for row in reserved.values()
    )


def _show_what_runs(steps: list[StepProgress], goes_back: bool, *, confirmed: bool) -> None:
    if not goes_back:
        # At the confirm a step goes on that was held, or only quoted: these first.
        order = ("booking", "quoted", "held") if confirmed else ("booking", "pending")
        waiting = (step for state in order for step in steps if step.state == state)
        if going_on := next(waiting, None):
            going_on.state = "booking"
            going_on.attempts += going_on.booking_seconds is None  # One that was held has its try.
        return
    for step in steps:
        if step.state == "booking":
            step.state = "failed"
    if any(step.state == "undoing" for step in steps):
        return
    left = [step for step in steps if step.state in ("booked", "held", "quoted", "failed")]
    if left:
        left[-1].state = "undoing"
        left[-1].undo_attempts += 1
