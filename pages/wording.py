"""How the pages say what a trip and its steps are doing: words, symbols, times."""

import datetime as dt

from markupsafe import Markup

from bookings import Event, RecordedTrip, StepProgress
from shared import ActionName, StepState, TripStatus

STATUSES: dict[TripStatus, str] = {
    "running": "Under way",
    "held": "Held",
    "booked": "Booked",
    "rolled_back": "Rolled back",
    "expired": "Expired",
    "cancelled": "Cancelled",
    "needs_attention": "Needs attention",
}

STATUS_SYMBOLS: dict[TripStatus, StepState] = {
    "running": "booking",
    "held": "held",
    "booked": "booked",
    "rolled_back": "undone",
    "expired": "undone",
    "cancelled": "undone",
    "needs_attention": "stuck",
}
"""A trip's status has the symbol of this state of a step."""

STATES: dict[StepState, str] = {
    "pending": "Waiting",
    "booking": "Booking",
    "held": "Held",
    "quoted": "Not held yet",
    "booked": "Booked",
    "failed": "Could not be booked",
    "undoing": "Undoing",
    "undone": "Undone",
    "stuck": "Undo is stuck",
    "resolved": "Settled",
}

ACTIONS: dict[ActionName, str] = {
    "confirm": "Confirm",
    "cancel": "Cancel",
    "retry": "Retry",
    "resolve": "Settle",
}
"""What callers ask for."""

BACKWARD: tuple[StepState, ...] = ("undoing", "undone", "stuck", "resolved")
"""The states of a step that is being undone or was undone."""


def goes_back(trip: RecordedTrip) -> bool:
    """Tell whether the trip is being undone or was undone."""
    return trip.status != "booked" and any(
        step.state in ("failed", *BACKWARD) for step in trip.steps
    )


def may_be_cancelled(trip: RecordedTrip) -> bool:
    """Tell whether a cancellation would change anything."""
    begun = trip.cancelled_at is not None
    return trip.status in ("running", "held", "booked") and not begun and not goes_back(trip)


def title(trip: RecordedTrip) -> str:
    """Return the title of a trip's page."""
    return f"{trip.request.get('name') or trip.trip_id}: {STATUSES[trip.status]}"


def never_was(step: StepProgress) -> bool:
    """Tell whether the step could not be booked and there was nothing to undo."""
    return step.state == "undone" and step.booking_seconds is step.undo_seconds is None


def state(step: StepProgress, trip: RecordedTrip) -> str:
    """Return what became of the step, or is becoming."""
    waits_in_vain = step.state == "pending" and (goes_back(trip) or trip.status != "running")
    return "Not booked" if waits_in_vain or never_was(step) else STATES[step.state]


def look(step: StepProgress) -> StepState:
    """Return the state whose symbol and colours the step has."""
    return "failed" if never_was(step) else step.state


def motion(trip: RecordedTrip) -> str:
    """Return a sentence that says what the trip is doing now."""
    by_state = {step.state: step for step in trip.steps}
    match trip.status:
        case "booked":
            return "Everything is booked"
        case "held":
            seconds = left(trip)
            return f"Held for another {duration(seconds)}" if seconds else "Its time is up"
        case "rolled_back" | "expired" | "cancelled":
            return "Nothing is held"
    if step := by_state.get("undoing"):
        return f"Going back: undoing the {step.kind}{_tries(step.undo_attempts, ', try {}')}"
    if step := by_state.get("stuck"):
        return f"The undo of the {step.kind} is stuck"
    if step := by_state.get("booking"):
        return f"Going on: booking the {step.kind}{_tries(step.attempts, ', try {}')}"
    return "Going back" if goes_back(trip) else "Going on"


def left(trip: RecordedTrip) -> float:
    """Return for how many seconds a trip is still held, in steps of a minute, or of ten seconds.

    A page shows it anew when it has changed.
    """
    if trip.status != "held" or trip.expires_at is None:
        return 0.0
    seconds = max((trip.expires_at - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)
    step = 60 if seconds > 120 else 10
    return seconds // step * step


def effort(step: StepProgress) -> str:
    """Return how often the step's booking or undo was tried, and how long that took."""
    undo = step.state in BACKWARD and not never_was(step)
    if step.state in ("booking", "undoing"):
        return _tries(step.undo_attempts if undo else step.attempts, "try {}")
    if undo:
        return _took(step.undo_attempts, step.undo_seconds)
    return _took(step.attempts, step.booking_seconds)


def effort_before(step: StepProgress) -> str:
    """Return how long the booking took of a step that is being undone or was undone."""
    if step.state not in BACKWARD or step.booking_seconds is None:
        return ""
    tries = _tries(step.attempts, " and {} tries")
    return f"Its booking took {duration(step.booking_seconds)}{tries}"


def _took(tries: int, seconds: float | None) -> str:
    told = [
        _tries(tries, "after {} tries"),
        f"in {duration(seconds)}" if seconds is not None else "",
    ]
    return ", ".join(filter(None, told))


def _tries(number: int, words: str) -> str:
    return words.format(number) if number > 1 else ""


def delivery(event: Event) -> str:
    """Return how the delivery of an event stands."""
    stands = "Given up" if event.delivery == "given_up" else "Waiting"
    times = f"{event.failures} failure{'' if event.failures == 1 else 's'}"
    return f"{stands} after {times}" if event.failures else stands


def duration(seconds: float) -> str:
    """Return a number of seconds as people read it."""
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s".replace(" 0 s", "")


def moment(time: dt.datetime) -> Markup:
    """Return a time as an HTML element that programs can read, too."""
    utc = time.astimezone(dt.UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )
