"""How the promises to travellers stand: which open trips take too long, and since when.

The questions read open trips and undecided reservations only, each by an index, so that they cost
the same however many trips the record has.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from record.database import Database
from record.tables import reservations, trips
from record.trips import OPEN
from shared import TripStatus


@dataclass(frozen=True)
class Waiting:
    """How many things wait, and since when the oldest does; `None`: nothing waits."""

    count: int
    since: dt.datetime | None

    def age(self) -> float:
        """Return the seconds for which the oldest has waited; 0 if nothing waits."""
        if self.since is None:
            return 0.0
        # The clocks of two servers may differ.
        return max((dt.datetime.now(dt.UTC) - self.since).total_seconds(), 0.0)


@dataclass(frozen=True)
class Promises:
    """What keeps travellers waiting."""

    open_trips: Mapping[TripStatus, int]
    past_deadline: int
    """Trips that still run when their deadline, or that of their cancellation, has passed."""
    stuck_undos: Waiting
    """Steps whose undo waits for an operator, since their supplier failed last."""
    unknown_outcomes: Waiting
    """Bookings of which nobody knows whether their supplier holds them: it has not decided, or its
    answer was lost and no further try is under way."""


async def promises_now(database: Database, trip_deadline: dt.timedelta) -> Promises:
    """Return how the promises stand. Raises `RecordError`."""

    def ask(sql: sa.Connection) -> Promises:
        now = dt.datetime.now(dt.UTC)
        counted = {row.status: row.trips for row in sql.execute(_OPEN_TRIPS)}
        return Promises(
            {status: counted.get(status, 0) for status in OPEN},
            sql.execute(_LATE, {"accepted_before": now - trip_deadline}).scalar_one(),
            Waiting(*sql.execute(_STUCK).one()),
            Waiting(*sql.execute(_UNKNOWN, {"now": now}).one()),
        )

    return await database.read(ask)


_OPEN_TRIPS = (
    sa.select(trips.c.status, sa.func.count().label("trips"))
    .where(trips.c.status.in_(OPEN))
    .group_by(trips.c.status)
)
_LATE = sa.select(sa.func.count()).where(
    trips.c.status == "running",
    sa.func.coalesce(trips.c.cancelled_at, trips.c.accepted_at)
    < sa.bindparam("accepted_before", type_=trips.c.accepted_at.type),
)
# A partial index is used where the database can prove that it has all that is asked for. It cannot
# prove that of a parameter, and SQLite compares the words.
# https://www.sqlite.org/partialindex.html
_STUCK = sa.select(sa.func.count(), sa.func.min(reservations.c.updated_at)).where(
    sa.text("reservations.verdict = 'stuck'"), reservations.c.state != "cancelled"
)
_UNKNOWN = sa.select(sa.func.count(), sa.func.min(reservations.c.updated_at)).where(
    sa.text("reservations.state IN ('asked', 'pending')"),
    (reservations.c.state == "pending")
    | (reservations.c.over_at < sa.bindparam("now", type_=reservations.c.over_at.type)),
)
