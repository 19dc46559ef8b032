"""The record: every trip that was ever asked for, how it ended, and what is held for it.

A database of our own, SQLite or PostgreSQL, which remembers for good what Temporal forgets. The
queries of worker and API are asked here and nowhere else.
"""

from record.audits import Audit, Audits
from record.errors import (
    HeldElsewhere,
    RecordBroken,
    RecordError,
    RecordUnavailable,
    ReservationRefused,
)
from record.promises import Promises, PromisesToKeep
from record.reservations import Reservation
from record.tables import storable
from record.trips import CLOCKS_DIFFER, OLDER, OPEN, UNHELD, Place, RecordedTrip

__all__ = [
    "CLOCKS_DIFFER",
    "OLDER",
    "OPEN",
    "UNHELD",
    "Audit",
    "HeldElsewhere",
    "Place",
    "Promises",
    "Record",
    "RecordBroken",
    "RecordError",
    "RecordUnavailable",
    "RecordedTrip",
    "Reservation",
    "ReservationRefused",
    "storable",
]


class Record(PromisesToKeep, Audits):
    """The record, as its database's URL says. Each base does one job."""
