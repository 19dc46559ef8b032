"""The six activities, book and undo a car, a hotel and a flight, and what the record is told.

Each asks a supplier and is idempotent as that is, so it may run twice, at the same time or late.
They know nothing of the saga that calls them.
"""

import dataclasses
from collections.abc import Awaitable

from temporalio import activity
from temporalio.exceptions import ApplicationError

from shared import (
    RECORD_HOLD,
    RECORD_STUCK_UNDO,
    RECORD_TRIP,
    RESOLVE_UNDO,
    TELL_SETTINGS,
    BookVacationInput,
    Execution,
    HeldTrip,
    Kind,
    SagaPolicy,
    TripNews,
)
from suppliers import ask_supplier, composed, this_try


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


@activity.defn(name=RECORD_TRIP)
async def record_trip(book_input: BookVacationInput, news: TripNews) -> None:
    """Write in the record how the trip has ended. Raises `RecordError`.

    Raises `ApplicationError`, which is final, if it is not undone: it can be cancelled again then.
    """
    left = await composed().record.trips.tell(_of_execution(book_input), news)
    if left is not None:
        raise ApplicationError(left, type="StillHeld", non_retryable=True)


@activity.defn(name=RECORD_HOLD)
async def record_hold(book_input: BookVacationInput, news: TripNews, seconds: float) -> HeldTrip:
    """Write in the record that the trip is held, by us for so long. Raises `RecordError`."""
    return await composed().record.trips.tell_held(_of_execution(book_input), news, seconds)


@activity.defn(name=RECORD_STUCK_UNDO)
async def record_stuck_undo(book_input: BookVacationInput, kind: Kind, words: str) -> None:
    """Write in the record that the undo of a step is stuck, and why. Raises `RecordError`."""
    await composed().record.reservations.give_up_undo(_of_execution(book_input), kind, words)


@activity.defn(name=RESOLVE_UNDO)
async def resolve_undo(book_input: BookVacationInput, kind: Kind, note: str) -> None:
    """Write in the record that an operator has settled a step. Raises `RecordError`."""
    await composed().record.reservations.resolve(_of_execution(book_input), kind, note)


@activity.defn(name=TELL_SETTINGS)
async def tell_settings() -> SagaPolicy:
    """Tell the policy of trips whose input has none."""
    return composed().policy


async def _book(kind: Kind, book_input: BookVacationInput) -> str:
    """Hold the item of `kind` if the trip is to be held, or book it.

    Raises `SupplierRefused`, a `ValueError`, when the supplier's word is final or it has failed
    `attempts` times; `SupplierFailed`, a `RuntimeError`, when another try may succeed; and an
    `ApplicationError` of another type when no supplier has failed.
    """
    record, desks, _ = composed()
    trip, tried = _of_execution(book_input), this_try()

    def count(words: str, final: bool) -> Awaitable[int]:
        return record.reservations.count_failure(trip, kind, words, final=final)

    doing, done = ("Holding", "Held") if trip.hold_seconds else ("Booking", "Booked")
    activity.logger.info("%s %s", doing, kind)
    await ask_supplier(kind, trip, tried, desks[kind].book(trip, tried), count, trip.attempts)
    activity.logger.info("%s %s", done, kind)
    return trip.item(kind) or ""


async def _undo(kind: Kind, book_input: BookVacationInput) -> str:
    """Release the item of `kind`. Raises as `_book` does; its attempts are `undo_attempts`."""
    record, desks, _ = composed()
    trip, tried = _of_execution(book_input), this_try()

    def count(words: str, _final: bool) -> Awaitable[int]:
        return record.reservations.count_undo_failure(trip, kind, words)

    activity.logger.info("Undoing booking of %s", kind)
    await ask_supplier(
        kind, trip, tried, desks[kind].cancel(trip, tried), count, trip.policy.undo_attempts
    )
    activity.logger.info("Undid booking of %s", kind)
    return trip.item(kind) or ""


def _of_execution(book_input: BookVacationInput) -> BookVacationInput:
    """Return the trip with the workflow execution that it belongs to: its own unless it says so."""
    if book_input.execution is not None:
        return book_input
    info = activity.info()
    own = Execution(info.workflow_id or "", info.workflow_run_id or "")
    return dataclasses.replace(book_input, execution=own)
