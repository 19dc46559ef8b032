"""The record: what is held for each trip, in a database of our own.

It begins as the reservations; the queries of worker and API are asked here and nowhere else.
"""

from record.reservations import (
    Reservation,
    ReservationRefused,
    ReservationStore,
    StoreBroken,
    StoreUnavailable,
)

__all__ = [
    "Reservation",
    "ReservationRefused",
    "ReservationStore",
    "StoreBroken",
    "StoreUnavailable",
]
