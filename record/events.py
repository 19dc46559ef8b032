"""The events: each change of a trip's status that others are told, and whether they were told.

An event is written in the transaction that changes the status. Transactions commit in any order.
So an event gets its `position`, its place among all, only once it is committed, and whoever reads
on from a position misses none.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import sqlalchemy as sa

from record.database import Database, now_in, writes
from record.tables import AnyText, UtcTime, events
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


class Events:
    """Reads and delivers the events. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, position: int, limit: int, owner: str | None = None) -> list[Event]:
        """Return so many events, the oldest first, from a position on; of an owner, or of all."""
        statement = _EVENTS.where(events.c.position > position).order_by(events.c.position)
        if owner is not None:
            statement = statement.where(events.c.owner == owner)
        return await self._database.read(lambda sql: _events(sql, statement.limit(limit)))

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
        told = {"delivery": "due", "due_at": now_in(sql)} if deliver else _NOBODY
        numbered = list(sql.scalars(_NUMBER, told))
        return numbered if deliver else []

    async def left_over(self, seconds: float, limit: int = AT_ONCE) -> list[Event]:
        """Return events whose delivery nobody has begun for so long, or is to begin again."""

        def found(sql: sa.Connection) -> list[Event]:
            since = now_in(sql) - dt.timedelta(seconds=seconds)
            is_left = (events.c.delivery == "due") & (events.c.due_at < since)
            left = _EVENTS.where(IS_UNDELIVERED, is_left | (events.c.delivery == "again"))
            return _events(sql, left.order_by(events.c.due_at).limit(limit))

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
            .where(IS_UNDELIVERED, events.c.delivery == "begun", events.c.failures > 0)
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
            which = _EVENTS.where(IS_UNDELIVERED, events.c.due_at <= since)
            if after is not None:
                which = which.where(sa.tuple_(*place) > (after.due_at, after.event_id))
            return _events(sql, which.order_by(*place).limit(limit))

        return await self._database.read(found)


def change_trip(
    sql: sa.Connection, change: sa.Update, trip_id: str, values: Mapping[str, Any] | None = None
) -> bool:
    """Change a trip's row, and write the event if that changes its status.

    Tells whether the row met the change's conditions.
    """
    changed = sql.execute(change, values).rowcount > 0
    if changed:
        add_event(sql, trip_id)
    return changed


def add_event(sql: sa.Connection, trip_id: str) -> None:
    """Write that the trip's status has changed, unless others were told of this status last.

    The trip's row was changed in this transaction, so no other one adds an event of the trip.
    """
    values: dict[str, Any] = {"event_id": f"evt_{uuid.uuid4().hex}", "of_trip": trip_id}
    if sql.dialect.name == "sqlite":
        values["now"] = now_in(sql)
    sql.execute(_ADD[sql.dialect.name], values)


def _events(sql: sa.Connection, statement: sa.Select[Any]) -> list[Event]:
    return [Event(**row._mapping) for row in sql.execute(statement)]


def _some(event_ids: Collection[str] | sa.Select[Any]) -> sa.Update:
    return sa.update(events).where(events.c.event_id.in_(event_ids))


def _adding(now: str) -> sa.TextClause:
    return sa.text(f"""
        INSERT INTO events (event_id, trip_id, owner, status, sequence, at, failures)
        SELECT :event_id, trips.trip_id, trips.owner, trips.status,
            coalesce(last.sequence, 0) + 1, {now}, 0
        FROM trips LEFT JOIN events AS last ON last.trip_id = trips.trip_id
            AND last.sequence = (SELECT max(sequence) FROM events WHERE trip_id = trips.trip_id)
        WHERE trips.trip_id = :of_trip AND trips.status <> 'running'
            AND (last.status IS NULL OR last.status <> trips.status)
    """).bindparams(sa.bindparam("of_trip", type_=AnyText))  # noqa: S608 - of no text from outside.


_ADD = {
    "postgresql": _adding("clock_timestamp()"),
    "sqlite": _adding(":now").bindparams(sa.bindparam("now", type_=UtcTime)),
}
_NUMBER = sa.text(f"""
    UPDATE events SET position = places.position, delivery = :delivery, due_at = :due_at
    FROM (
        SELECT event_id, (SELECT coalesce(max(position), 0) FROM events)
            + row_number() OVER (ORDER BY at, sequence) AS position
        FROM events WHERE position IS NULL ORDER BY at, sequence LIMIT {AT_ONCE}
    ) AS places
    WHERE events.event_id = places.event_id RETURNING events.event_id
""").bindparams(sa.bindparam("due_at", type_=UtcTime))  # noqa: S608 - as above.
_NOBODY = {"delivery": None, "due_at": None}
_ANY_UNNUMBERED = sa.text("SELECT 1 FROM events WHERE position IS NULL LIMIT 1")
_EVENTS: sa.Select[Any] = sa.select(*(events.c[each.name] for each in fields(Event)))
# In the words of the index, so that it is used.
IS_UNDELIVERED = sa.text("events.delivery IN ('due', 'again', 'begun', 'given_up')")
