"""What audits ask of the record: which trips to compare, and what earlier audits have come to.

An audit asks page by page, so that each answer is short, however many trips there are. Its own
times are by the database's clock: those of two workers may differ.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields

import sqlalchemy as sa

from record.database import Database, add_if_new, now_in, writes
from record.steps import RecordedTrip
from record.tables import audits, trips, unaudited
from record.trips import ALL_TRIPS, IS_MARKED, OPEN, recorded


@dataclass(frozen=True)
class Audit:
    """An audit, under way or ended."""

    audit_id: str
    began_at: dt.datetime
    since: dt.datetime | None
    """It compares the trips that have ended since then; `None`: all trips."""
    ended_at: dt.datetime | None = None
    trips: int | None = None
    """How many were compared."""
    not_compared: int | None = None
    """How many were left to the next audit."""
    differences: Mapping[str, int] | None = field(default=None)
    """How many trips have each kind of difference."""


class Audits:
    """The audits, and the trips that are to be compared. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, overlap: dt.timedelta, first: dt.timedelta, *, everything: bool) -> Audit:
        """Write that an audit has begun, and return it.

        It compares what has ended since `overlap` before the last audit began that has ended. The
        first audit compares what has ended since `first` ago.
        """
        return await self._database.write(lambda sql: _begin(sql, overlap, first, everything))

    @writes
    def begin_if_due(
        self,
        sql: sa.Connection,
        overlap: dt.timedelta,
        first: dt.timedelta,
        every: dt.timedelta,
    ) -> Audit | None:
        """Begin an audit as `begin` does, unless one has begun since `every` ago."""
        now = now_in(sql)
        recent = audits.c.began_at.between(now - every, now)
        if sql.execute(_AUDIT.where(recent).limit(1)).one_or_none():
            return None
        return _begin(sql, overlap, first, everything=False)

    async def end(
        self, audit_id: str, trips: int, not_compared: int, differences: Mapping[str, int]
    ) -> None:
        """Write how an audit has ended. Doing so again changes nothing."""
        told = {"trips": trips, "not_compared": not_compared, "differences": dict(differences)}
        end = (
            sa.update(audits)
            .where(audits.c.audit_id == audit_id, audits.c.ended_at.is_(None))
            .values(told)
        )
        await self._database.write(lambda sql: sql.execute(end.values(ended_at=now_in(sql))))

    async def last(self) -> Audit | None:
        """Return the audit that has ended last."""
        return await self._database.read(last_audit)

    async def ended_trips(
        self,
        since: dt.datetime | None,
        until: dt.datetime,
        after: RecordedTrip | None,
        limit: int,
    ) -> list[RecordedTrip]:
        """Return a page of the trips that ended in that time, the earliest first, after a trip.

        Trips that need attention are left out.
        """
        by_end = (trips.c.closed_at, trips.c.trip_id)
        statement = (
            ALL_TRIPS.where(trips.c.closed_at < until, trips.c.status.not_in(OPEN))
            .order_by(*by_end)
            .limit(limit)
        )
        if since is not None:
            statement = statement.where(trips.c.closed_at >= since)
        if after is not None:
            place = (after.closed_at, after.trip_id)
            # The first half is what both databases find by the index.
            statement = statement.where(trips.c.closed_at >= place[0], sa.tuple_(*by_end) > place)
        return await self._database.read(lambda sql: recorded(sql, statement))

    async def unaudited_trips(
        self, before: dt.datetime, after_id: str, limit: int
    ) -> list[RecordedTrip]:
        """Return a page of the trips that earlier audits have left, by id, after an id.

        Trips that have ended since `before`, and those that need attention, are left out.
        """
        statement = (
            ALL_TRIPS.join(unaudited, unaudited.c.trip_id == trips.c.trip_id)
            .where(unaudited.c.trip_id > after_id)
            .where(trips.c.closed_at < before, trips.c.status.not_in(OPEN))
            .order_by(unaudited.c.trip_id)
            .limit(limit)
        )
        return await self._database.read(lambda sql: recorded(sql, statement))

    async def marked_trips(self, after_id: str, limit: int) -> list[RecordedTrip]:
        """Return a page of the trips that have ended and need attention, by id, after an id."""
        statement = (
            ALL_TRIPS.where(IS_MARKED, trips.c.trip_id > after_id)
            .order_by(trips.c.trip_id)
            .limit(limit)
        )
        return await self._database.read(lambda sql: recorded(sql, statement))

    @writes
    def note_audited(
        self, sql: sa.Connection, compared: Collection[str], left: Collection[str]
    ) -> None:
        """Write which trips were compared, and which are left to the next audit."""
        sql.execute(sa.delete(unaudited).where(unaudited.c.trip_id.in_(compared)))
        now = dt.datetime.now(dt.UTC)
        if left:
            rows = [{"trip_id": trip_id, "noted_at": now} for trip_id in left]
            add_if_new(sql, unaudited, rows)


_AUDIT = sa.select(*(audits.c[each.name] for each in fields(Audit)))


def last_audit(sql: sa.Connection) -> Audit | None:
    """Return the audit that has ended last."""
    ended = _AUDIT.where(audits.c.ended_at.is_not(None))
    row = sql.execute(ended.order_by(audits.c.ended_at.desc()).limit(1)).one_or_none()
    return None if row is None else Audit(**row._mapping)


def _begin(
    sql: sa.Connection, overlap: dt.timedelta, first: dt.timedelta, everything: bool
) -> Audit:
    now = now_in(sql)
    # The clock was ahead, and has been put right. Nobody knows what had ended when these began.
    sql.execute(sa.delete(audits).where(audits.c.began_at > now))
    last = sa.select(sa.func.max(audits.c.began_at)).where(audits.c.ended_at.is_not(None))
    before = sql.execute(last).scalar_one()
    since = now - first if before is None else before - overlap
    begun = Audit(uuid.uuid4().hex, now, None if everything else since)
    values = {"audit_id": begun.audit_id, "began_at": begun.began_at, "since": begun.since}
    sql.execute(sa.insert(audits).values(values))
    return begun
