"""The six activities: book and undo a car, a hotel and a flight.

Each is idempotent over the reservation store, so it may run twice, at the same time or late. They
know what the suppliers know, and nothing of the saga that calls them.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from temporalio import activity

from reservations import ReservationStore
from shared import BookVacationInput, Kind


@dataclass(frozen=True)
class Suppliers:
    """What stands behind the activities: the store, and how the simulated hotel behaves.

    The hotel takes `hotel_latency` seconds to answer and is down for the first
    `hotel_outage_attempts` tries of each booking.
    """

    store: ReservationStore
    hotel_latency: float = 0.0
    hotel_outage_attempts: int = 0


suppliers: ContextVar[Suppliers] = ContextVar("suppliers")
"""Set once by the worker at its start, and by each test for itself."""


@activity.defn
async def book_car(book_input: BookVacationInput) -> str:
    """Hold the trip's car and return its id. See `_book` for the errors."""
    return await _book("car", book_input)


@activity.defn
async def book_hotel(book_input: BookVacationInput) -> str:
    """Hold the trip's hotel and return its id. See `_book` for the errors.

    Raises `RuntimeError` while the simulated outage lasts.
    """
    await _reach_hotel()
    return await _book("hotel", book_input)


@activity.defn
async def book_flight(book_input: BookVacationInput) -> str:
    """Hold the trip's flight and return its id. See `_book` for the errors."""
    return await _book("flight", book_input)


@activity.defn
async def undo_book_car(book_input: BookVacationInput) -> str:
    """Release the trip's car, for good, and return its id."""
    return await _undo("car", book_input)


@activity.defn
async def undo_book_hotel(book_input: BookVacationInput) -> str:
    """Release the trip's hotel, for good, and return its id."""
    return await _undo("hotel", book_input)


@activity.defn
async def undo_book_flight(book_input: BookVacationInput) -> str:
    """Release the trip's flight, for good, and return its id."""
    return await _undo("flight", book_input)


async def _book(kind: Kind, book_input: BookVacationInput) -> str:
    """Hold the item of `kind`.

    Raises `ValueError` when the supplier does not know the item and `ReservationRefused` when the
    trip was undone already: both are final. Raises `StoreUnavailable` when the store cannot
    answer: worth another try.
    """
    item = book_input.item(kind)
    activity.logger.info("Booking %s %s", kind, item)
    if "invalid" in item:
        raise ValueError(f"Invalid {kind} booking, rolling back!")
    await suppliers.get().store.reserve(book_input.book_user_id, kind, item)
    activity.logger.info("Booked %s %s", kind, item)
    return item


async def _undo(kind: Kind, book_input: BookVacationInput) -> str:
    item = book_input.item(kind)
    activity.logger.info("Undoing booking of %s %s", kind, item)
    await suppliers.get().store.cancel(book_input.book_user_id, kind)
    activity.logger.info("Undid booking of %s %s", kind, item)
    return item


async def _reach_hotel() -> None:
    """Wait as long as the simulated hotel takes, and fail while its simulated outage lasts."""
    latency = suppliers.get().hotel_latency
    await asyncio.sleep(latency)
    if activity.info().attempt > suppliers.get().hotel_outage_attempts:
        return
    activity.heartbeat("The hotel does not answer")
    await asyncio.sleep(latency)
    raise RuntimeError("Hotel service is down. Retrying...")
