"""Whose the trips are: the owners' idempotency keys, and how trips come to another owner.

The keys of trips that were booked without `API_KEYS`, or by a caller that was renamed since, lead
to these trips again once they are handed to their new owner.
"""

import hashlib
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from record.database import Database, add_if_new, writes
from record.tables import events, former_owners, trips

BATCH = 200
"""How many trips a transaction hands over. Nobody else writes meanwhile."""

HandedOver = tuple[int, list[tuple[str, str]]]
"""How many trips, and those of them that have lost their key, each with the trip that has it."""


class Owners:
    """The owners of trips. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def besides(self, names: Collection[str]) -> list[str]:
        """Return the owners of trips that are not among the names."""

        def owners(sql: sa.Connection) -> list[str]:
            # To go from one to the next in the index does not read all trips.
            found, beyond, first = [], sa.true(), sa.select(sa.func.min(trips.c.owner))
            while (owner := sql.scalar(first.where(beyond))) is not None:
                found.append(owner)
                beyond = trips.c.owner > owner
            return [owner for owner in found if owner not in names]

        return await self._database.read(owners)

    @writes
    def hand_over(self, sql: sa.Connection, old: str, new: str) -> HandedOver:
        """Hand some trips of an owner to another one; the last time there were none any more."""
        if sql.dialect.name == "postgresql":
            # As in SQLite, nobody else writes: the new owner may be using one of the keys.
            sql.execute(sa.text("LOCK TABLE trips IN EXCLUSIVE MODE"))
        ids = sql.scalars(sa.select(trips.c.trip_id).where(trips.c.owner == old).limit(BATCH)).all()
        if not ids:
            return 0, []
        theirs = trips.alias()
        doubles = sql.execute(
            sa.select(trips.c.trip_id, theirs.c.trip_id)
            .join(theirs, theirs.c.key_fingerprint == trips.c.key_fingerprint)
            .where(trips.c.trip_id.in_(ids), theirs.c.owner == new)
        ).all()
        some = sa.update(trips).where(trips.c.owner == old)
        # The new owner goes on to be told of the trip that it was told of last.
        double = trips.c.trip_id.in_([trip_id for trip_id, _ in doubles])
        sql.execute(some.where(double).values(key_fingerprint=None))
        former = {old, *_former_names(sql, old)} - {new}
        add_if_new(sql, former_owners, [{"owner": new, "former": name} for name in former])
        sql.execute(sa.update(events).where(events.c.trip_id.in_(ids)).values(owner=new))
        handed_over = sql.execute(some.where(trips.c.trip_id.in_(ids)).values(owner=new))
        return handed_over.rowcount, [(trip_id, other) for trip_id, other in doubles]


def fingerprint_of(key: str) -> str:
    """Return what stands for a key or a cookie, which cannot be read from the record."""
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprints_of(sql: sa.Connection, owner: str, key: str) -> list[str]:
    """Return all that may stand for a key of the owner's trips, first what was always its own.

    Before version 3 the owner was part of the hash.
    """
    own, *former = (f"{name}\n{key}" for name in (owner, *_former_names(sql, owner)))
    return [fingerprint_of(each) for each in (own, key, *former)]


def _former_names(sql: sa.Connection, owner: str) -> Sequence[str]:
    return sql.scalars(_FORMER, {"of_owner": owner}).all()


_FORMER = sa.select(former_owners.c.former).where(former_owners.c.owner == sa.bindparam("of_owner"))
