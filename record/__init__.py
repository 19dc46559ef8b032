"""The record: every trip that was ever asked for, how it ended, and what is held for it.

A database of our own, SQLite or PostgreSQL, which remembers for good what Temporal forgets. Worker
and API ask it here and nowhere else. Each part of it does one job, over the same database.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from record.actions import Action, Actions
from record.audits import Audit, Audits
from record.cookies import WithdrawnCookies
from record.database import Database
from record.errors import (
    RecordBroken,
    RecordError,
    RecordMisconfigured,
    RecordUnavailable,
    ReservationRefused,
)
from record.events import Event, Events
from record.outside import OutsideReservations
from record.owners import Owners
from record.promises import promises_now
from record.reservations import Reservation, Reservations
from record.steps import RecordedTrip, StepProgress
from record.tables import storable
from record.trips import OPEN, UNHELD, PlaceInList, Trips


class Record:
    """The record, over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.trips = Trips(database)
        self.reservations = Reservations(database)
        self.outside = OutsideReservations(database)
        self.events = Events(database)
        self.actions = Actions(database)
        self.audits = Audits(database)
        self.withdrawn_cookies = WithdrawnCookies(database)
        self.owners = Owners(database)

    @classmethod
    def connect(cls, database_url: str) -> Self:
        """Return the record at `database_url`. Nothing is asked of it yet."""
        return cls(Database.connect(database_url))

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncIterator[Self]:
        """Connect, and close at the end."""
        record = cls.connect(database_url)
        try:
            yield record
        finally:
            await record.database.close()
