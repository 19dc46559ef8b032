"""What every process of the service agrees on: the trip's input, its result, names and ids.

It is imported by the API, the worker and the workflow sandbox alike, so it knows nothing of
HTTP, Temporal clients or databases, and imports nothing of ours.
"""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict, cast

TASK_QUEUE_NAME = "saga-task-queue"

CANCELLATION_PREFIX = "cancellation:"
"""No trip's own id has a colon."""

Kind = Literal["car", "hotel", "flight"]
"""What a trip consists of. A trip books one of each, in this order."""

KINDS: tuple[Kind, ...] = ("car", "hotel", "flight")

StepState = Literal[
    "pending", "booking", "booked", "failed", "undoing", "undone", "stuck", "resolved"
]
"""Where one step of a trip is. `failed` could not be booked and is not yet undone; `stuck` is an
undo that needs attention; `resolved` is one that an operator declared settled."""

TripStatus = Literal["running", "booked", "rolled_back", "cancelled", "needs_attention"]

BOOKING_STATUS_ATTRIBUTE = "BookingStatus"
"""Name of the keyword search attribute that holds the `TripStatus`, where it is registered."""

BOOKING_OWNER_ATTRIBUTE = "BookingOwner"
"""Name of the keyword search attribute that holds whose trip it is, where it is registered."""

REPORT_TRY_SIGNAL = "report_try"
"""Name of the signal by which an activity tells its workflow how its tries go."""


@dataclass(frozen=True)
class SagaPolicy:
    """How patiently a trip is booked and undone. All times are in seconds.

    It travels in the workflow's input, because workflow code may not read the environment, and so
    a trip keeps to its end the policy that it started with.
    """

    step_deadline: float = 600.0
    """The most a booking step may take, all tries and waits included."""
    try_timeout: float = 30.0
    """The most one try of a step or of an undo may take."""
    heartbeat_timeout: float = 2.0
    """After this long without a heartbeat a try's worker counts as dead."""
    retry_interval: float = 1.0
    """The wait after the first failed try; it doubles with each further one."""
    retry_interval_cap: float = 10.0
    """The longest wait between two tries."""
    undo_attempts: int = 10
    """The tries after which an undo counts as stuck and the trip needs attention."""
    stuck_retry_interval: float = 3600.0
    """The wait before a stuck undo is first tried again without anyone asking; it doubles with
    each further try, up to a day."""


@dataclass(frozen=True)
class BookVacationInput:
    """The input of `BookingWorkflow` and of its activities: one trip.

    `attempts` is the most tries of each booking step; `book_user_id` is the trip's id.
    """

    attempts: int
    book_user_id: str
    book_car_id: str
    book_hotel_id: str
    book_flight_id: str
    policy: SagaPolicy = SagaPolicy()

    def item(self, kind: Kind) -> str:
        """Return the id of the car, hotel or flight that this trip wants."""
        return {
            "car": self.book_car_id,
            "hotel": self.book_hotel_id,
            "flight": self.book_flight_id,
        }[kind]


@dataclass
class StepProgress:
    """How far one step of a trip has come."""

    kind: Kind
    item: str
    state: StepState = "pending"
    attempts: int = 0
    """Tries of the booking so far."""
    undo_attempts: int = 0
    """Tries of the undo so far."""
    last_error: str | None = None
    note: str | None = None
    """What the operator wrote who resolved a stuck undo."""


@dataclass(frozen=True)
class TripProgress:
    """The answer of the workflow's `progress` query."""

    status: TripStatus
    steps: list[StepProgress]


@dataclass(frozen=True)
class TryReport:
    """What an activity tells its workflow about one of its tries.

    `error` is `None` when the try begins and the supplier's words when it has failed.
    """

    kind: Kind
    undo: bool
    attempt: int
    error: str | None = None


class BookedItems(TypedDict):
    """What a booked trip holds."""

    booked_car: str
    booked_hotel: str
    booked_flight: str


class BookingResult(TypedDict):
    """The result of `BookingWorkflow` and `CancelBookingWorkflow`.

    `message` is what was booked on success and the root cause, in the supplier's words, on failure.
    """

    status: Literal["success", "failure", "cancelled"]
    message: BookedItems | str
    steps: list[dict[str, Any]]


def steps_as_json(steps: Iterable[StepProgress]) -> list[dict[str, Any]]:
    """Return steps as plain JSON objects, the form in which results and memos keep them."""
    return [asdict(step) for step in steps]


def slug(name: str) -> str:
    """Return `name` as at most 40 ASCII letters, digits and hyphens; `guest` if none is left."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_name.lower())
    return "-".join(words)[:40].strip("-") or "guest"


def new_user_id(name: str) -> str:
    """Return a new trip id: the slug of the traveller's name and 96 random bits.

    Among a million trips of one name two ids collide with a probability below 1e-17.
    """
    return f"{slug(name)}-{secrets.randbits(96):029d}"


def step_of(activity_type: str) -> tuple[Kind, bool]:
    """Return which step an activity belongs to, and whether it undoes it."""
    kind = cast(Kind, activity_type.rpartition("_")[2])
    return kind, activity_type.startswith("undo_")


def keyed_user_id(owner: str, idempotency_key: str) -> str:
    """Return the trip id that an idempotency key of an owner always leads to.

    It does not depend on the traveller's name: a key that is used again with another body must
    lead to the same trip, for the conflict to be seen.
    """
    digest = hashlib.sha256(f"{owner}\n{idempotency_key}".encode()).hexdigest()
    return f"booking-{digest[:40]}"


def cancellation_id(user_id: str) -> str:
    """Return the workflow id under which the booked trip `user_id` is cancelled."""
    return f"{CANCELLATION_PREFIX}{user_id}"


def cancelled_trip(workflow_id: str) -> str | None:
    """Return the trip that a workflow of this id cancels, `None` if it cancels none."""
    trip_id = workflow_id.removeprefix(CANCELLATION_PREFIX)
    return None if trip_id == workflow_id else trip_id
