"""The durable reservation store: what the suppliers hold for each trip.

One row per (trip, kind). `reserve` and `cancel` are one statement each, hence one transaction:
idempotent, and safe against each other from any number of processes. A cancelled row is a
tombstone: it refuses every later `reserve`, so a late try cannot book after its undo. The store
knows nothing of Temporal.
"""

import asyncio
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import aiosqlite
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared import KINDS, Kind

BUSY_TIMEOUT = 5.0
"""Seconds that a statement waits for another process's write before it fails as unavailable."""

MIGRATIONS = Path(__file__).with_name("migrations")

MIGRATION_LOCK = 0x7472_6970
"""Key of the PostgreSQL advisory lock that lets one migrator in at a time ("trip" in ASCII)."""

metadata = sa.MetaData()

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("trip_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("item", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
)
"""`item` is null only in the tombstone of a step that was never booked. The migrations create the
table, with its constraints; this is what the queries need of it."""


@dataclass(frozen=True)
class Reservation:
    """What the store holds for one step of a trip."""

    trip_id: str
    kind: Kind
    item: str | None
    state: Literal["reserved", "cancelled"]


class StoreUnavailable(Exception):
    """The database is locked, full or out of reach. Nothing was written; try again."""


class ReservationRefused(Exception):
    """The step was undone already, or holds another item. No later try can succeed."""


class ReservationStore:
    """Reservations in SQLite or PostgreSQL, as the database URL says."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._insert = _upsert_for(engine.dialect.name)

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncIterator[Self]:
        """Open the store at `database_url` and close its connections at the end."""
        engine = _create_engine(database_url)
        try:
            yield cls(engine)
        finally:
            await engine.dispose()

    async def migrate(self) -> None:
        """Bring the schema up to date. Of several processes one does it while the others wait.

        Raises `StoreUnavailable` when the database cannot answer.
        """
        async with self._transaction() as connection:
            await connection.run_sync(_upgrade)

    async def reserve(self, trip_id: str, kind: Kind, item: str) -> None:
        """Hold `item` for the trip. Doing so again changes nothing.

        Raises `ReservationRefused` when the step was cancelled or holds another item, and
        `StoreUnavailable` when the database cannot answer.
        """
        now = _now()
        # A conflicting row is "updated" to itself: only so does RETURNING show it, and one
        # statement stays one transaction that no concurrent cancel can slip into.
        statement = (
            self._insert(reservations)
            .values(
                trip_id=trip_id,
                kind=kind,
                item=item,
                state="reserved",
                created_at=now,
                updated_at=now,
            )
            .on_conflict_do_update(
                index_elements=["trip_id", "kind"],
                set_={"updated_at": reservations.c.updated_at},
            )
            .returning(reservations.c.item, reservations.c.state)
        )
        async with self._transaction() as connection:
            held = (await connection.execute(statement)).one()
        if held.state == "cancelled":
            raise ReservationRefused(f"The {kind} of trip {trip_id} was undone already")
        if held.item != item:
            raise ReservationRefused(f"The {kind} of trip {trip_id} is {held.item}, not {item}")

    async def cancel(self, trip_id: str, kind: Kind) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone. Doing so again changes
        nothing. Raises `StoreUnavailable` when the database cannot answer.
        """
        now = _now()
        statement = (
            self._insert(reservations)
            .values(trip_id=trip_id, kind=kind, state="cancelled", created_at=now, updated_at=now)
            .on_conflict_do_update(
                index_elements=["trip_id", "kind"],
                set_={"state": "cancelled", "updated_at": now},
                where=reservations.c.state != "cancelled",
            )
        )
        async with self._transaction() as connection:
            await connection.execute(statement)

    async def of_trip(self, trip_id: str) -> list[Reservation]:
        """Return the rows of one trip, tombstones included, in the order of booking."""
        return await self._rows(reservations.c.trip_id == trip_id)

    async def all(self) -> list[Reservation]:
        """Return every row; for audits and tests."""
        return await self._rows(sa.true())

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        columns = [reservations.c[name] for name in ("trip_id", "kind", "item", "state")]
        statement = (
            sa.select(*columns)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(_kind_order(), value=reservations.c.kind))
        )
        async with self._transaction() as connection:
            return [Reservation(*row) for row in await connection.execute(statement)]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        # Whatever the driver says has SQL and addresses in it, which are not for travellers. It is
        # kept as the cause, for the logs and the workflow's history.
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable("The reservation store is unavailable") from error


def _upgrade(connection: sa.Connection) -> None:
    # SQLite's BEGIN IMMEDIATE has locked out other migrators already.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _kind_order() -> dict[str, int]:
    return {kind: position for position, kind in enumerate(KINDS)}


def _upsert_for(dialect: str) -> Callable[[sa.Table], sqlite.Insert | postgresql.Insert]:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def _create_engine(database_url: str) -> AsyncEngine:
    if sa.make_url(database_url).get_backend_name() == "postgresql":
        return create_async_engine(
            database_url, pool_pre_ping=True, connect_args={"connect_timeout": int(BUSY_TIMEOUT)}
        )
    engine = create_async_engine(database_url, connect_args={"timeout": BUSY_TIMEOUT})
    sa.event.listen(engine.sync_engine, "connect", _configure_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN is turned off so that ours below is the only one.
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    connection.run_async(_write_ahead)
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


async def _write_ahead(connection: aiosqlite.Connection) -> None:
    # While another process writes to a new file, this fails at once: SQLite's busy timeout is not
    # for a change of the journal mode. https://www.sqlite.org/pragma.html#pragma_journal_mode
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BUSY_TIMEOUT
    while True:
        try:
            await connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                raise
            await asyncio.sleep(0.01)
        else:
            return


def _begin_immediate(connection: sa.Connection) -> None:
    # Taking the write lock at once makes SQLite wait its busy timeout; upgrading a read
    # transaction later would fail at once. https://www.sqlite.org/lang_transaction.html
    connection.exec_driver_sql("BEGIN IMMEDIATE")
