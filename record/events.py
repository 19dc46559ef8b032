"""The events: each change of a trip's status that others are told, and whether they were told.

An event is written in the transaction that changes the status. Transactions commit in any order.
So an event gets its `position`, its place among all, only once it is committed, and whoever reads
on from a position misses none.
"""

import datetime as dt
import functools
import uuid
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from record.database import Database, now_in, writes
from record.tables import UtcTime, events, trips
from shared import TripStatus

AT_ONCE = 500
"""How many events a transaction changes or returns."""

POSITIONS = 0x7472_6970
"""The lock in PostgreSQL of those who give events their positions, any number of ours."""

DELIVERED_FOR = dt.timedelta(days=3)
"""How long the delivery of an event is tried."""

FORWARD_INTERVAL = dt.timedelta(minutes=5)
"""Within this time a delivery is brought forward once, if it does not fail again."""

Delivery = Literal["due", "again", "begun", "delivered", "refused", "given_up"]
"""`due`: it is to be begun; `again`: anew, or at once; `begun`: Temporal carries it; `refused`: the
receiver does not want it; `given_up`: it was tried for `DELIVERED_FOR`."""

WAITING: tuple[Delivery, ...] = ("due", "again", "begun")
"""It will be delivered."""


@dataclass(frozen=True)
class Event:
    """A change of a trip's status."""

    event_id: str
    trip_id: str
    owner: str
    """Whose trip it is."""
    status: TripStatus
    """What the trip's status has become."""
    sequence: int
    """Counts the events of the trip, from 1."""
    at: dt.datetime
    """When the status changed."""
    position: int | None
    """Its place among all events; `None`: it has none yet, and nobody is told of it."""
    delivery: Delivery | None
    """How its delivery stands; `None`: there was nobody to deliver it to."""
    failures: int
    """How often the delivery has failed."""
    last_error: str | None
    """Why it has failed last."""
    due_at: dt.datetime | None
    """Since when it is to be delivered."""

    def told(self) -> dict[str, Any]:
        """Return the event as others are told of it, as JSON."""
        return {
            "id": self.event_id,
            "type": f"trip.{self.status}",
            "timestamp": self.at.isoformat().replace("+00:00", "Z"),
            "data": {"user_id": self.trip_id, "status": self.status, "sequence": self.sequence},
        }


class Undelivered(NamedTuple):
    """How many events wait to be delivered, for how long the oldest does, and what was given up."""

    waiting: int
    oldest_seconds: float
    given_up: int


class Events:
    """Reads and delivers the events. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, position: int, limit: int, owner: str | None = None) -> list[Event]:
        """Return so many events, the oldest first, from a position on; of an owner, or of all."""
        statement = _EVENTS.where(events.c.position > position).order_by(events.c.position)
        if owner is not None:
            statement = statement.where(events.c.owner == owner)
        return await self._read(statement.limit(limit))

    async def number(self, *, deliver: bool) -> list[str]:
        """Give the events that have none their positions, and have them delivered if so told.

        Returns the ids of those that are to be delivered, whose delivery the caller has to begin.
        """
        if not await self._database.read(lambda sql: sql.execute(_ANY_UNNUMBERED).first()):
            return []
        return await self._number(deliver)

    @writes
    def _number(self, sql: sa.Connection, deliver: bool) -> list[str]:
        if sql.dialect.name == "postgresql":
            # Held until the commit: a position is seen once all lower ones are. What comes after
            # this statement sees what the holder before it has committed.
            sql.execute(sa.select(sa.func.pg_advisory_xact_lock(POSITIONS)))
        told: dict[str, Any] = {"delivery": "due", "due_at": now_in(sql)} if deliver else {}
        numbered = sql.scalars(_NUMBER.values(told).returning(events.c.event_id)).all()
        return list(numbered) if deliver else []

    async def left_over(self, seconds: float) -> list[Event]:
        """Return events whose delivery nobody has begun for so long, or is to begin again."""
        statement = _EVENTS.where(_IS_UNDELIVERED, events.c.delivery.in_(["due", "again"]))

        def found(sql: sa.Connection) -> list[Event]:
            since = now_in(sql) - dt.timedelta(seconds=seconds)
            is_left = (events.c.delivery == "again") | (events.c.due_at < since)
            oldest = statement.where(is_left).order_by(events.c.due_at).limit(AT_ONCE)
            return _events(sql, oldest)

        return await self._database.read(found)

    @writes
    def note_begun(self, sql: sa.Connection, event_ids: Collection[str]) -> None:
        """Write that Temporal carries the deliveries."""
        is_due = events.c.delivery.in_(["due", "again"])
        sql.execute(_some(event_ids).where(is_due).values(delivery="begun"))

    async def to_deliver(self, event_id: str) -> tuple[Event, dt.datetime] | None:
        """Return an event and the time by the database's clock; `None`: it is not to be sent."""

        def ask(sql: sa.Connection) -> tuple[Event, dt.datetime] | None:
            for event in _events(sql, _EVENTS.where(events.c.event_id == event_id)):
                if event.delivery in WAITING:
                    return event, now_in(sql)
            return None

        return await self._database.read(ask)

    @writes
    def note_delivered(self, sql: sa.Connection, event_id: str) -> None:
        """Write that the receiver has taken an event."""
        now = now_in(sql)
        sql.execute(_some([event_id]).values(delivery="delivered", delivered_at=now))

    @writes
    def note_failure(
        self, sql: sa.Connection, event_id: str, words: str, wait: float = 0.0, *, gone: bool
    ) -> int | None:
        """Write why a try has failed. Returns how many have; `None`: there shall be no further one.

        `wait`: the seconds for which the receiver does not want to be asked. `gone`: it does not
        want the event.
        """
        now = now_in(sql)
        too_old = events.c.due_at < now - DELIVERED_FOR
        delivery = "refused" if gone else sa.case((too_old, "given_up"), else_="begun")
        failed = (
            _some([event_id])
            .where(events.c.delivery.in_(WAITING))
            .values(
                delivery=delivery,
                failures=events.c.failures + 1,
                last_error=words,
                not_before=now + dt.timedelta(seconds=wait),
            )
            .returning(events.c.failures, events.c.delivery)
        )
        row = sql.execute(failed).one_or_none()
        return row.failures if row is not None and row.delivery == "begun" else None

    @writes
    def bring_forward(self, sql: sa.Connection) -> int:
        """Have deliveries tried at once that have failed; the receiver takes events again.

        Those wait on for which it has told a time, and those that were brought forward less than
        `FORWARD_INTERVAL` ago. Returns how many it was, `AT_ONCE` at the most.
        """
        failed = (
            sa.select(events.c.event_id)
            .where(_IS_UNDELIVERED, events.c.delivery == "begun", events.c.failures > 0)
            .where(events.c.not_before < now_in(sql))
            .order_by(events.c.due_at)
            .limit(AT_ONCE)
        )
        later = now_in(sql) + FORWARD_INTERVAL
        return sql.execute(_some(failed).values(delivery="again", not_before=later)).rowcount

    @writes
    def deliver_again(self, sql: sa.Connection, event_id: str) -> Event | None:
        """Have an event delivered anew, or at once, and return it; `None`: there is none.

        One that there was nobody to deliver to stays as it is.
        """
        which = _some([event_id]).where(events.c.delivery.is_not(None))
        anew = {"delivery": "again", "due_at": now_in(sql), "failures": 0}
        sql.execute(which.values(**anew, last_error=None, delivered_at=None))
        it = _EVENTS.where(events.c.event_id == event_id, events.c.position.is_not(None))
        return next(iter(_events(sql, it)), None)

    async def undelivered(
        self, limit: int, older_than: float = 0.0, after: Event | None = None
    ) -> list[Event]:
        """Return so many events that are not delivered for so many seconds, the oldest first.

        `after`: only those that come after this one.
        """
        place = (events.c.due_at, events.c.event_id)

        def found(sql: sa.Connection) -> list[Event]:
            since = now_in(sql) - dt.timedelta(seconds=older_than)
            which = _EVENTS.where(_IS_UNDELIVERED, events.c.due_at <= since)
            if after is not None:
                which = which.where(sa.tuple_(*place) > (after.due_at, after.event_id))
            return _events(sql, which.order_by(*place).limit(limit))

        return await self._database.read(found)

    async def _read(self, statement: sa.Select[Any]) -> list[Event]:
        return await self._database.read(lambda sql: _events(sql, statement))


def add_event(sql: sa.Connection, trip_id: str) -> None:
    """Write that the trip's status has changed, unless others were told of this status last.

    The trip's row was changed in this transaction, so no other one adds an event of the trip.
    """
    values = {"event_id": f"evt_{uuid.uuid4().hex}", "of_trip": trip_id}
    if sql.dialect.name == "sqlite":
        values["now"] = now_in(sql)  # type: ignore[assignment]
    sql.execute(_add(sql.dialect.name), values)


def undelivered_in(sql: sa.Connection) -> Undelivered:
    """Return how the deliveries stand."""
    counted = {row.delivery: row for row in sql.execute(_UNDELIVERED)}
    waiting = [row for delivery, row in counted.items() if delivery in WAITING]
    oldest = min((row.since for row in waiting), default=None)
    given_up = counted["given_up"].events if "given_up" in counted else 0
    age = max((now_in(sql) - oldest).total_seconds(), 0.0) if oldest else 0.0
    return Undelivered(sum(row.events for row in waiting), age, given_up)


def _events(sql: sa.Connection, statement: sa.Select[Any]) -> list[Event]:
    return [Event(**row._mapping) for row in sql.execute(statement)]


def _some(event_ids: Collection[str] | sa.Select[Any]) -> sa.Update:
    return sa.update(events).where(events.c.event_id.in_(event_ids))


@functools.cache
def _add(dialect: str) -> sa.Insert:
    last, earlier = events.alias(), events.alias()
    now = sa.bindparam("now", type_=UtcTime)
    top = (
        sa.select(sa.func.max(earlier.c.sequence))
        .where(earlier.c.trip_id == sa.bindparam("of_trip"))
        .scalar_subquery()
    )
    changed = (
        sa.select(
            sa.bindparam("event_id", type_=events.c.event_id.type),
            trips.c.trip_id,
            trips.c.owner,
            trips.c.status,
            sa.func.coalesce(last.c.sequence, 0) + 1,
            now if dialect == "sqlite" else sa.func.clock_timestamp(type_=UtcTime),
            sa.literal(0),
        )
        .select_from(
            trips.outerjoin(last, (last.c.trip_id == trips.c.trip_id) & (last.c.sequence == top))
        )
        .where(
            trips.c.trip_id == sa.bindparam("of_trip"),
            trips.c.status != "running",
            last.c.status.is_distinct_from(trips.c.status),
        )
    )
    columns = ["event_id", "trip_id", "owner", "status", "sequence", "at", "failures"]
    return sa.insert(events).from_select(columns, changed, include_defaults=False)


_EVENTS: sa.Select[Any] = sa.select(*(events.c[each.name] for each in fields(Event)))
# In the words of the indexes, so that these are used.
_IS_UNDELIVERED = sa.text("events.delivery IN ('due', 'again', 'begun', 'given_up')")
_IS_UNNUMBERED = sa.text("events.position IS NULL")
_ANY_UNNUMBERED = sa.select(sa.literal(1)).select_from(events).where(_IS_UNNUMBERED).limit(1)
_PLACES = (
    sa.select(
        events.c.event_id,
        sa.func.row_number().over(order_by=(events.c.at, events.c.sequence)).label("place"),
    )
    .where(_IS_UNNUMBERED)
    .order_by(events.c.at, events.c.sequence)
    .limit(AT_ONCE)
    .subquery("places")
)
_LAST = sa.select(sa.func.coalesce(sa.func.max(events.c.position), 0)).correlate(None)
_NUMBER = (
    sa.update(events)
    .where(events.c.event_id == _PLACES.c.event_id)
    .values(position=_LAST.scalar_subquery() + _PLACES.c.place)
)
_UNDELIVERED = (
    sa.select(
        events.c.delivery,
        sa.func.count().label("events"),
        sa.func.min(events.c.due_at).label("since"),
    )
    .where(_IS_UNDELIVERED)
    .group_by(events.c.delivery)
)
