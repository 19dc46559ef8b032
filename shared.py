"""What every process of the service agrees on: the trip's input, its result, names and ids.

It is imported by the API, the worker and the workflow sandbox alike, so it knows nothing of
HTTP, Temporal clients or databases, and imports nothing of ours.
"""

import datetime as dt
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypedDict, cast, get_args

VERSION = "2.0.0"
"""Of the service, by https://semver.org: of its HTTP API, its settings, and the names that other
people's code imports. CHANGELOG.md tells what each brought."""

TASK_QUEUE_NAME = "saga-task-queue"

REFUSE_LATE_BOOKING = "refuse_late_booking"
"""Name of the activity that makes sure that a settled step is not booked any more."""

RECORD_TRIP = "record_trip"
"""Name of the local activity by which a workflow tells the record of its trip."""

UNDECIDED = "Undecided"
"""The type of the error that says: nobody can tell yet what is held, ask again in a while."""

CANCELLATION_PREFIX = "cancellation:"
"""No trip's own id has a colon."""

Kind = Literal["car", "hotel", "flight"]
"""What a trip consists of. A trip books one of each, in this order."""

KINDS: tuple[Kind, ...] = get_args(Kind)

StepState = Literal[
    "pending", "booking", "booked", "failed", "undoing", "undone", "stuck", "resolved"
]
"""Where one step of a trip is. `failed` could not be booked and is not yet undone; `stuck` is an
undo that needs attention; `resolved` is one that an operator declared settled."""

CANCELLED = "Cancelled on request"
"""The reason of a trip that was cancelled."""

TripStatus = Literal["running", "booked", "rolled_back", "cancelled", "needs_attention"]

BOOKING_STATUS_ATTRIBUTE = "BookingStatus"
"""Name of the keyword search attribute that a workflow keeps up if it was started with it. The API
starts none so: nothing here needs it, and each change of it is an event and a write more."""

MECHANISM = 3
"""The last version of the mechanism."""

MAX_TEXT = 500
"""Characters. Texts from outside are cut to this where they enter: a payload of Temporal's may have
2 MB at the most, and one that is larger blocks its workflow for ever."""


@dataclass(frozen=True)
class SagaPolicy:
    """How patiently a trip is booked and undone. All times are in seconds.

    It travels in the workflow's input, because workflow code may not read the environment, and so
    a trip keeps to its end the policy that it started with.
    """

    step_deadline: float = 600.0
    """The most a booking step may take, all tries and waits included."""
    try_timeout: float = 120.0
    """The most that a supplier may take to answer one try of a step or of an undo. Real ones take
    up to two minutes."""
    heartbeat_timeout: float = 10.0
    """After this long without a heartbeat a try counts as lost with its worker."""
    retry_interval: float = 1.0
    """The wait after the first failed try; it doubles with each further one."""
    retry_interval_cap: float = 10.0
    """The longest wait between two tries."""
    undo_attempts: int = 10
    """The tries after which an undo counts as stuck and the trip needs attention."""
    stuck_retry_interval: float = 3600.0
    """The wait before a stuck undo is first tried again without anyone asking; it doubles with
    each further try, up to a day."""
    trip_deadline: float = 3600.0
    """What is not booked so long after the workflow was started is undone: nobody expects any more
    that the trip is booked when, say, a worker comes back after a day."""
    own_queues: tuple[Kind, ...] = ()
    """The kinds whose activities have a task queue of their own, so that the wait for a supplier
    which is slow, or may be called only so often, is no other's."""
    mechanism: int = 1
    """Which version of the mechanism the trip runs, to its end; the API starts trips with the last.
    2: an activity's id is its own name and count, not its place among all, and a cancel is heard
    beside a lost try. So it makes no difference whether a worker has run a workflow ahead of its
    task, as one does for a query on a machine that is overloaded.
    3: a try that its worker cannot read fails no step; it is repeated after a wait."""


@dataclass(frozen=True)
class Execution:
    """A workflow execution. A reset goes on with the same one; a new start is another.

    https://docs.temporal.io/workflow-execution#first-run-id
    """

    workflow_id: str
    first_run_id: str
    started_at: dt.datetime | None = None


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
    earlier_tries: int = 0
    """Tries of the step at hand before those that its activity counts. Only set for activities."""
    name: str = ""
    """The traveller's name."""
    owner: str = ""
    """Whose trip it is: the name of the API's caller."""
    accepted: bool = False
    """Whether the record had the trip before its workflow was started, as the API sees to."""
    execution: Execution | None = None
    """The workflow execution that the trip belongs to; set for activities and cancellations."""

    def item(self, kind: Kind) -> str | None:
        """Return the id of what this trip wants of `kind`, `None` if it wants nothing of it.

        A kind that came later is one that trips which started before it do not want.
        """
        item: str | None = getattr(self, f"book_{kind}_id")
        return item

    @property
    def request(self) -> dict[str, Any]:
        """What the traveller asked for, by the names of the API's request."""
        items: dict[str, str | None] = {kind: self.item(kind) for kind in KINDS}
        return {"name": self.name, "attempts": self.attempts, **items}


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
    held: bool = False
    """Whether the supplier has confirmed the booking, and it was not undone since."""
    reference: str | None = None
    """The supplier's own name for the booking."""
    booking_seconds: float | None = None
    """How long it took until the step was booked or failed, all tries and waits included."""
    undo_seconds: float | None = None
    """How long it took until the step was undone or resolved, also with times when it was stuck."""


@dataclass(frozen=True)
class CancelBookingInput(BookVacationInput):
    """The input of `CancelBookingWorkflow`: a trip whose own workflow has closed."""

    steps: list[StepProgress] = field(default_factory=list)
    """How the trip's steps stood at its end."""


@dataclass(frozen=True)
class TripProgress:
    """The answer of the workflow's `progress` query."""

    status: TripStatus
    steps: list[StepProgress]


@dataclass(frozen=True)
class TripNews:
    """What a workflow tells the record of its trip."""

    status: TripStatus
    reason: str | None
    """Why it was rolled back or cancelled."""
    steps: list[StepProgress]
    at: dt.datetime
    """The time in the workflow: what came first may reach the record last."""
    began: dt.datetime | None = None
    """When the workflow began."""


@dataclass(frozen=True)
class Tried:
    """What an activity that has succeeded tells its workflow."""

    item: str
    attempt: int
    """The number of the try that succeeded."""
    last_error: str | None = None
    """Why the try before it failed."""
    reference: str | None = None
    """The supplier's own name for what it has booked."""


class Booked(str):
    """What a booking activity returns: the booked id, and the supplier's own name for the booking.

    To whoever knows nothing of references, and in JSON, it is the id.
    """

    reference: str | None = None

    @classmethod
    def under(cls, item: str, reference: str | None) -> "Booked":
        """Return the id of what was booked under a reference."""
        booked = cls(item)
        booked.reference = reference
        return booked


class BookingResult(TypedDict):
    """The result of `BookingWorkflow` and `CancelBookingWorkflow`.

    `message` is what was booked on success (`booked_car` and so on) and the root cause, in the
    supplier's words, on failure.
    """

    status: Literal["success", "failure", "cancelled"]
    message: dict[str, str] | str
    steps: list[dict[str, Any]]


def steps_as_json(steps: Iterable[StepProgress]) -> list[dict[str, Any]]:
    """Return steps as plain JSON objects, the form in which results and memos keep them."""
    return [asdict(step) for step in steps]


def steps_from_json(steps: Iterable[dict[str, Any]]) -> list[StepProgress]:
    """Return the steps that a result, a memo or the record keeps as plain JSON objects.

    What an older version has not written is derived, what a newer one has added is passed over.
    """
    known = {field.name for field in fields(StepProgress)}
    return [
        StepProgress(
            **{"held": step["state"] == "booked"}
            | {name: value for name, value in step.items() if name in known}
        )
        for step in steps
        if step["kind"] in KINDS
    ]


def cut(text: str) -> str:
    """Return `text`, cut to `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


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


def task_queue_of(kind: Kind) -> str:
    """Return the task queue of the activities of `kind`, where it has one of its own."""
    return f"{TASK_QUEUE_NAME}-{kind}"


def step_of(activity_type: str) -> tuple[Kind, bool]:
    """Return which step an activity belongs to, and whether it undoes it."""
    kind = cast(Kind, activity_type.rpartition("_")[2])
    return kind, activity_type.startswith("undo_")


def key_fingerprint(owner: str, idempotency_key: str) -> str:
    """Return what stands for an idempotency key of an owner; the key cannot be read from it."""
    return hashlib.sha256(f"{owner}\n{idempotency_key}".encode()).hexdigest()


def keyed_user_id(owner: str, idempotency_key: str) -> str:
    """Return the trip id that an idempotency key of an owner always leads to.

    It does not depend on the traveller's name: a key that is used again with another body must
    lead to the same trip, for the conflict to be seen.
    """
    return f"booking-{key_fingerprint(owner, idempotency_key)[:40]}"


def cancellation_id(user_id: str) -> str:
    """Return the workflow id under which the booked trip `user_id` is cancelled."""
    return f"{CANCELLATION_PREFIX}{user_id}"


def cancelled_trip(workflow_id: str) -> str | None:
    """Return the trip that a workflow of this id cancels, `None` if it cancels none."""
    trip_id = workflow_id.removeprefix(CANCELLATION_PREFIX)
    return None if trip_id == workflow_id else trip_id
