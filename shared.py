"""What every process of the service agrees on: the trip's input, its result, names and ids.

The API, the worker and the workflow sandbox all import it. So it knows nothing of HTTP, Temporal
clients or databases, and imports nothing of ours.
"""

import contextlib
import datetime as dt
import ipaddress
import logging
import os
import re
import secrets
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args

from pydantic import Field, TypeAdapter, ValidationError

VERSION = "3.0.0"
"""Of the service, by https://semver.org: of its HTTP API, its settings, and the names that other
people's code imports. CHANGELOG.md tells what each version brought."""

TASK_QUEUE_NAME = "saga-task-queue"

RECORD_TRIP = "record_trip"
RECORD_HOLD = "record_hold"
RECORD_STUCK_UNDO = "record_stuck_undo"
RESOLVE_UNDO = "resolve_undo"
"""Names of the activities by which a workflow tells the record: how its trip stands or has ended,
that it is held, that an undo is stuck, and that an operator has settled it."""

TELL_SETTINGS = "tell_settings"
"""Name of the activity by which a worker tells a workflow how patient its settings are."""

UNDECIDED = "Undecided"
"""The type of the error that says: the supplier has not decided yet, ask again in a while."""

CANCELLATION_PREFIX = "cancellation:"
"""No trip's own id has a colon."""

Kind = Literal["car", "hotel", "flight"]
"""What a trip consists of. A trip books one of each, in this order."""

KINDS: tuple[Kind, ...] = get_args(Kind)

StepState = Literal[
    "pending",
    "booking",
    "held",
    "quoted",
    "booked",
    "failed",
    "undoing",
    "undone",
    "stuck",
    "resolved",
]
"""Where one step of a trip is. `held`: until the trip is confirmed. `quoted`: its supplier holds
nothing, and it is booked at the confirm. `failed`: it could not be booked and is not yet undone.
`stuck`: its undo needs attention. `resolved`: an operator declared it settled."""

CANCELLED = "Cancelled on request"
"""The reason of a trip that was cancelled."""

EXPIRED = "The trip was not confirmed in time"
"""The reason of a trip that has expired."""

TripStatus = Literal[
    "running", "held", "booked", "rolled_back", "expired", "cancelled", "needs_attention"
]

ActionName = Literal["confirm", "cancel", "retry", "resolve"]
"""What a caller may have done to a trip: confirm it, cancel it, have a stuck undo tried again, or
settle it."""

SAMPLES = ("a-secret-of-16-or-more", "another-secret-of-16", "the-token-they-gave-you")
"""Secrets that the example of settings once had: everybody knows them. Now it has none."""

CALLER_NAME = r"[A-Za-z0-9_-]{1,64}"
"""What a caller of the API may be called."""

MAX_TEXT = 500
"""Characters. Texts from outside are cut to this where they enter: a payload of Temporal's may have
2 MB at most, and a larger one blocks its workflow for ever."""

MAX_RETRY_AFTER = 86_400.0
"""Seconds. A longer `Retry-After` is cut to this."""

ESCAPED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that would end a line, control a terminal or turn text round."""


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


@dataclass(frozen=True)
class SagaPolicy:
    """How patiently a trip is booked and undone, in seconds. A trip keeps what it started with."""

    step_deadline: Seconds = 600.0
    """The most a booking step may take, all tries and waits included."""
    try_timeout: Seconds = 120.0
    """The most that one try of a step or of an undo may take. Real suppliers take two minutes."""
    heartbeat_timeout: Seconds = 10.0
    """After this long without a heartbeat a try counts as lost with its worker."""
    retry_interval: Seconds = 1.0
    """The wait after the supplier's first failure; it doubles with each further one."""
    retry_interval_cap: Seconds = 10.0
    """The longest wait between two tries."""
    undo_attempts: Annotated[int, Field(ge=1)] = 10
    """The supplier's failures after which an undo is stuck and the trip needs attention."""
    stuck_retry_interval: Seconds = 3600.0
    """The wait before a stuck undo is tried again by itself. It doubles each time, up to a day."""
    trip_deadline: Seconds = 3600.0
    """A trip that is not booked so long after its start is undone. An undo that takes as long is
    stuck."""
    own_queues: tuple[Kind, ...] = ()
    """The kinds whose activities have their own task queue, so that they delay no others."""
    chosen: bool = field(default=True, compare=False)
    """Whether somebody has chosen it. Otherwise the settings of the trip's first worker count."""


@dataclass(frozen=True)
class Execution:
    """A workflow execution. A reset continues it; a new start is another one.

    https://docs.temporal.io/workflow-execution#first-run-id
    """

    workflow_id: str
    first_run_id: str


@dataclass(frozen=True)
class Price:
    """An amount of money. It is never a float: not even 0.1 is one."""

    amount: Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,4})?$", examples=["120.00"])]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"])]
    """By ISO 4217."""

    @property
    def number(self) -> Decimal:
        """The amount, to reckon with."""
        return Decimal(self.amount)

    def __str__(self) -> str:
        """Return it as people read it, and as the record keeps it."""
        return f"{self.amount} {self.currency}"


def total_of(prices: Iterable[Price | None]) -> Price | None:
    """Return the sum of prices of one currency; `None`: they have several, or one is not known."""
    known = list(prices)
    currencies = {price.currency if price else None for price in known}
    if len(currencies) != 1 or None in currencies:
        return None
    amount = sum((price.number for price in known if price), Decimal())
    return Price(f"{amount:f}", currencies.pop() or "")


@dataclass(frozen=True)
class BookVacationInput:
    """The input of the workflows and of their activities: one trip."""

    attempts: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    """After so many failures of its supplier a booking step is given up."""
    book_user_id: Annotated[str, Field(min_length=1)]
    """The trip's id."""
    book_car_id: str
    book_hotel_id: str
    book_flight_id: str
    policy: SagaPolicy = SagaPolicy(chosen=False)
    name: str = ""
    """The traveller's name."""
    owner: str = ""
    """Whose trip it is: the name of the API's caller."""
    execution: Execution | None = None
    """The workflow execution that the trip belongs to. `None`: the one that runs the activity."""
    hold_seconds: Seconds | None = None
    """For so long the trip is held, for its traveller to confirm it; `None`: it is booked."""
    max_price: Price | None = None
    """What the trip may cost at the most."""

    def item(self, kind: Kind) -> str | None:
        """Return the item that the trip wants of `kind`; `None`: it is older than the kind."""
        item: str | None = getattr(self, f"book_{kind}_id")
        return item

    @property
    def request(self) -> dict[str, Any]:
        """What the traveller asked for, by the names of the API's request."""
        items: dict[str, str | None] = {kind: self.item(kind) for kind in KINDS}
        price = self.max_price and asdict(self.max_price)
        options = {"hold_seconds": self.hold_seconds, "max_price": price}
        chosen = {name: value for name, value in options.items() if value is not None}
        return {"name": self.name, "attempts": self.attempts, **items, **chosen}


_INPUT = TypeAdapter(BookVacationInput)


def input_from(told: object) -> BookVacationInput:
    """Return the input of a workflow that somebody has started with `told`, as JSON has it.

    Raises `ValueError` with one line, which says what is wrong and repeats no value.
    """
    try:
        return _INPUT.validate_python(told)
    except ValidationError as error:
        wrong = [
            " ".join([".".join(map(str, each["loc"])), each["msg"]]).strip()
            for each in error.errors()
        ]
        raise ValueError("; ".join(wrong)) from None


@dataclass(frozen=True)
class TripNews:
    """What a workflow tells the record of its trip before it closes."""

    status: TripStatus
    reason: str | None
    """Why the trip was rolled back or cancelled."""
    at: dt.datetime
    """The workflow's time: an earlier message may reach the record after a later one."""
    began: dt.datetime
    """When it began, or when the traveller confirmed the trip."""


@dataclass(frozen=True)
class HeldTrip:
    """What the record tells a workflow of its trip when all its steps are held."""

    seconds: float
    """After so long the first of its holds expires."""
    quoted: list[Kind]
    """What nobody holds: it is booked first, while all else can still be released."""
    confirmed: bool = False
    """Whether it was confirmed already, before its workflow was reset."""


class BookingResult(TypedDict):
    """The result of `BookingWorkflow` and `CancelBookingWorkflow`."""

    status: Literal["success", "failure", "expired", "cancelled"]
    message: dict[str, Any] | str
    """What was booked (`booked_car` and so on), or the root cause in the supplier's words."""


def cut(text: str) -> str:
    """Return `text`, cut to `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def one_line(text: str) -> str:
    """Return a text from outside as it may be written to a terminal or a log: on one line."""
    return ESCAPED.sub(lambda found: ascii(found[0])[1:-1], text)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def log_in_lines(level: int, form: str = "%(message)s") -> None:
    """Have a command log to standard error, each event on one line. Services log by `telemetry`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(form))
    logging.basicConfig(level=level, handlers=[handler])


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    date = http_date(value)
    if date is None:
        return None
    return min(max((date - dt.datetime.now(dt.UTC)).total_seconds(), 0.0), MAX_RETRY_AFTER)


def http_date(value: str | None) -> dt.datetime | None:
    """Return the time that a header tells (RFC 9110, 5.6.7); `None`: it tells none."""
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or dt.UTC)


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
    """Return the name of the task queue that `kind` has where it has one of its own."""
    return f"{TASK_QUEUE_NAME}-{kind}"


def cancellation_id(user_id: str) -> str:
    """Return the workflow id under which the booked trip `user_id` is cancelled."""
    return f"{CANCELLATION_PREFIX}{user_id}"


def cancelled_trip(workflow_id: str) -> str | None:
    """Return the trip that a workflow of this id cancels, `None` if it cancels none."""
    trip_id = workflow_id.removeprefix(CANCELLATION_PREFIX)
    return None if trip_id == workflow_id else trip_id


def host_name(authority: str) -> str:
    """Return the host of `host:port` in lower case, without brackets; empty: it has none."""
    try:
        return urllib.parse.urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine as only itself can name it."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_known_host(authority: str, names: Collection[str]) -> bool:
    """Tell whether the host of `host:port` is one of the names, an address or this machine.

    Anybody can make a name of theirs lead here (DNS rebinding), and to a browser their page is then
    of the same site. An address leads nowhere else.
    """
    host = host_name(authority)
    return host in names or host == "localhost" or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def keep_private(file: Path) -> None:
    """Let nobody but its owner read a SQLite file, whatever the umask; make it if it is not there.

    SQLite gives the mode of a file to the `-wal` and the `-shm` that it makes beside it. A file
    that is there is not opened: to close it would drop the locks that this process has on it.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    # Where it cannot be made, SQLite says why. A file of somebody else's is theirs to guard.
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
    for part in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        with contextlib.suppress(OSError):
            part.chmod(0o600)
