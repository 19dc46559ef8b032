"""The six activities, book and undo a car, a hotel and a flight, and what the record is told.

Each asks a supplier and is idempotent as that is, so it may run twice, at the same time or late.
They know nothing of the saga that calls them.
"""

import asyncio
import dataclasses
import datetime as dt
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

from temporalio import activity
from temporalio.exceptions import ApplicationError

from record import Record
from settings import Settings, load_settings
from shared import (
    KINDS,
    RECORD_TRIP,
    REFUSE_LATE_BOOKING,
    UNDECIDED,
    Booked,
    BookVacationInput,
    Execution,
    Kind,
    TripNews,
    cut,
)
from suppliers import (
    Desk,
    Desks,
    EmbeddedSupplier,
    FollowCall,
    HttpSupplier,
    ObservedEmbedded,
    ObservedSupplier,
    Observer,
    OutsideDesk,
    Refused,
    Supplier,
    TryAgain,
    Undecided,
)


class Composition(NamedTuple):
    """What the activities work with."""

    record: Record
    desks: Desks

    async def close(self) -> None:
        """Close the connections to the suppliers."""
        for desk in self.desks.values():
            await desk.close()


composition: ContextVar[Composition] = ContextVar("composition")
"""The worker sets it at its start, and each test for itself; without that it is made from the
settings when an activity first needs it."""

MAX_HEARTBEAT_INTERVAL = 5.0

LAST_TRY = 10.0
"""Seconds before a step's deadline when it is tried once more, however long its supplier wants to
be left alone."""


class BookingRefused(ApplicationError, ValueError):
    """The supplier's final word, as the workflow gets it."""

    def __init__(self, reason: str, attempt: int) -> None:
        super().__init__(reason, attempt, type="BookingRefused", non_retryable=True)

    def __str__(self) -> str:
        """Return the supplier's words alone."""
        return self.message


class SupplierFailed(ApplicationError, RuntimeError):
    """A try that has failed and may be repeated, as the workflow gets it."""

    def __init__(self, reason: str, attempt: int, wait: float | None = None) -> None:
        delay = None if wait is None else dt.timedelta(seconds=wait)
        super().__init__(reason, attempt, type="SupplierFailed", next_retry_delay=delay)

    def __str__(self) -> str:
        """Return the supplier's words alone."""
        return self.message


class TripUndecided(ApplicationError):
    """A try that its supplier has not decided yet, as the workflow gets it: try on after `wait`."""

    def __init__(self, reason: str, attempt: int, wait: float, last_error: str | None) -> None:
        details = (attempt, wait, last_error)
        super().__init__(reason, *details, type=UNDECIDED, non_retryable=True)

    def __str__(self) -> str:
        """Return what is not decided, alone."""
        return self.message


@activity.defn
async def book_car(book_input: BookVacationInput) -> str:
    """Hold the trip's car and return its id. See `_book` for the errors."""
    return await _book("car", book_input)


@activity.defn
async def undo_book_car(book_input: BookVacationInput) -> str:
    """Release the trip's car, for good, and return its id."""
    return await _undo("car", book_input)


@activity.defn
async def book_hotel(book_input: BookVacationInput) -> str:
    """Hold the trip's hotel and return its id. See `_book` for the errors."""
    return await _book("hotel", book_input)


@activity.defn
async def undo_book_hotel(book_input: BookVacationInput) -> str:
    """Release the trip's hotel, for good, and return its id."""
    return await _undo("hotel", book_input)


@activity.defn
async def book_flight(book_input: BookVacationInput) -> str:
    """Hold the trip's flight and return its id. See `_book` for the errors."""
    return await _book("flight", book_input)


@activity.defn
async def undo_book_flight(book_input: BookVacationInput) -> str:
    """Release the trip's flight, for good, and return its id."""
    return await _undo("flight", book_input)


@activity.defn(name=REFUSE_LATE_BOOKING)
async def refuse_late_booking(kind: Kind, book_input: BookVacationInput) -> None:
    """Make sure that the trip's step of `kind`, which is settled, is not booked any more."""
    async with _trying(kind, book_input) as (desk, trip, _):
        await desk.refuse_late_booking(trip)
    activity.logger.info("Refusing late bookings of %s", kind)


@activity.defn(name=RECORD_TRIP)
async def record_trip(book_input: BookVacationInput, news: TripNews) -> None:
    """Write in the record how the trip stands. Raises `RecordError`, until it is written."""
    await _composed().record.tell(_of_execution(book_input), news)


async def _book(kind: Kind, book_input: BookVacationInput) -> str:
    """Hold the item of `kind`.

    Raises `BookingRefused`, a `ValueError`, when the supplier's word is final; `SupplierFailed`, a
    `RuntimeError`, when another try may succeed; and `TripUndecided`.
    """
    item = book_input.item(kind) or ""
    async with _trying(kind, book_input) as (desk, trip, attempt):
        activity.logger.info("Booking %s", kind)
        confirmed = await desk.book(trip, attempt)
    activity.logger.info("Booked %s", kind)
    return Booked.under(item, confirmed.reference)


async def _undo(kind: Kind, book_input: BookVacationInput) -> str:
    item = book_input.item(kind) or ""
    async with _trying(kind, book_input) as (desk, trip, _):
        activity.logger.info("Undoing booking of %s", kind)
        await desk.cancel(trip)
    activity.logger.info("Undid booking of %s", kind)
    return item


@asynccontextmanager
async def _trying(
    kind: Kind, book_input: BookVacationInput
) -> AsyncIterator[tuple[Desk, BookVacationInput, int]]:
    """Surround a try: yield desk, trip and number of the try, and translate what it raises.

    Only a supplier's own words leave as they are; any other exception's text may hold an address or
    a credential, and goes to the logs. The words are left to the next try as a heartbeat's details.
    """
    info = activity.info()
    attempt = book_input.earlier_tries + info.attempt
    wait = None
    async with _heartbeats():
        try:
            async with asyncio.timeout(book_input.policy.try_timeout):
                yield _composed().desks[kind], _of_execution(book_input), attempt
        except Refused as refused:
            raise BookingRefused(cut(str(refused)), attempt) from None
        except Undecided as undecided:
            last_error = info.heartbeat_details[0] if info.heartbeat_details else None
            wait = _within_deadline(undecided.wait, book_input)
            raise TripUndecided(str(undecided), attempt, wait, last_error) from None
        except TryAgain as error:
            reason = cut(str(error))
            if error.wait is not None:
                wait = _within_deadline(error.wait, book_input)
        except TimeoutError:
            reason = f"The {kind} supplier did not answer in time"
        except Exception:
            activity.logger.exception("The %s supplier failed", kind)
            reason = f"The {kind} supplier failed"
        else:
            return
        activity.heartbeat(reason)
        raise SupplierFailed(reason, attempt, wait) from None


def _within_deadline(wait: float, book_input: BookVacationInput) -> float:
    """Return how long the supplier may be left alone, which wants `wait` seconds.

    An undo has no deadline, and is as patient as one that is stuck.
    """
    info = activity.info()
    if info.schedule_to_close_timeout is None:
        return min(wait, book_input.policy.stuck_retry_interval)
    deadline = info.scheduled_time + info.schedule_to_close_timeout
    latest = (deadline - dt.datetime.now(dt.UTC)).total_seconds() - LAST_TRY
    return min(wait, latest) if latest > 0 else wait


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Heartbeat from now on, so that only a dead, cut off or frozen worker misses a deadline.

    What takes less than the interval, as most calls do, costs no heartbeat at all.
    """
    info = activity.info()
    if info.heartbeat_timeout is None:
        yield
        return
    interval = min(info.heartbeat_timeout.total_seconds() / 3, MAX_HEARTBEAT_INTERVAL)
    heart = asyncio.create_task(_beat(interval, info.heartbeat_details))
    try:
        yield
    finally:
        heart.cancel()


async def _beat(interval: float, details: Any) -> None:
    while True:
        await asyncio.sleep(interval)
        # A heartbeat replaces the details of the one before, which tell why the last try failed.
        activity.heartbeat(*details)


def _of_execution(book_input: BookVacationInput) -> BookVacationInput:
    """Return the trip with the workflow execution that it belongs to.

    Who schedules the activity without saying so, a workflow of an earlier version or a test, is it.
    """
    if book_input.execution is not None:
        return book_input
    info = activity.info()
    own = Execution(info.workflow_id or "", info.workflow_run_id or "")
    return dataclasses.replace(book_input, execution=own)


def _composed() -> Composition:
    try:
        return composition.get()
    except LookupError:
        return _composed_from_settings()


@functools.cache
def _composed_from_settings() -> Composition:
    settings = load_settings()
    return compose(Record.connect(settings.database_url), settings)


def compose(
    record: Record,
    settings: Settings,
    observer: Observer | None = None,
    follow_call: FollowCall = nullcontext,
) -> Composition:
    """Return what the activities work with, as the settings say.

    An observer is told of each call of a supplier; `follow_call` surrounds each one over HTTP.
    """
    desks = {kind: _desk(kind, record, settings, observer, follow_call) for kind in KINDS}
    return Composition(record, desks)


def _desk(
    kind: Kind,
    record: Record,
    settings: Settings,
    observer: Observer | None,
    follow_call: FollowCall,
) -> Desk:
    """Return where `kind` is booked. Who has a supplier class of their own puts it here."""
    outside = settings.suppliers[kind]
    if outside.url is not None:
        token = None if outside.token is None else outside.token.get_secret_value()
        supplier: Supplier = HttpSupplier(kind, outside.url, token, follow_call=follow_call)
        if observer is not None:
            supplier = ObservedSupplier(kind, supplier, observer)
        return OutsideDesk(kind, supplier, record, outside.url, outside.late_seconds)
    embedded = EmbeddedSupplier(kind, record)
    if kind == "hotel":
        latency, outage = settings.hotel_latency_seconds, settings.hotel_outage_attempts
        embedded = EmbeddedSupplier(kind, record, latency, outage)
    return embedded if observer is None else ObservedEmbedded(embedded, observer)
