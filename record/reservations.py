"""The durable reservation store: what the suppliers hold for each trip.

One row per (trip, kind). `reserve` and `cancel` are one statement each, hence one transaction:
idempotent, and safe against each other from any number of processes. A cancelled row is a
tombstone: it refuses every later `reserve`, so a late try cannot book after its undo. The store
knows nothing of Temporal.
"""

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)

from shared import KINDS, Kind

BUSY_TIMEOUT = 5.0
"""Seconds that a statement waits for another process's write before it fails as unavailable."""

POSTGRESQL_CONNECTIONS = 10
"""How many reservations a process works on at once. SQLite has one writer at a time anyway."""

PROJECT = Path(__file__).parent.parent

MIGRATIONS = Path(__file__).with_name("migrations")

MIGRATION_LOCK = 0x7472_6970
"""Key of the PostgreSQL advisory lock that lets one migrator in at a time ("trip" in ASCII)."""

Answer = TypeVar("Answer")

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


class StoreBroken(Exception):
    """The database refuses, and always will: a missing table, a violated constraint. A bug."""


class ReservationRefused(Exception):
    """The step was undone already, or holds another item. No later try can succeed."""


class ReservationStore:
    """Reservations in SQLite or PostgreSQL, as the database URL says.

    Each call hops to a thread and back once, for the whole of its transaction; a call that is
    cancelled goes on there. An asyncio driver of SQLite hops for each step of it, which costs four
    times the CPU.
    """

    def __init__(self, engine: sa.Engine, threads: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._threads = threads
        # Built once: to build a statement takes SQLAlchemy as long as to execute it.
        insert = _insert_for(engine.dialect.name)(reservations)
        # A conflicting row is "updated" to itself: only so does RETURNING show it, and one
        # statement stays one transaction that no concurrent cancel can slip into.
        self._reserve = insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"], set_={"updated_at": reservations.c.updated_at}
        ).returning(reservations.c.item, reservations.c.state)
        self._cancel = insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_={"state": insert.excluded.state, "updated_at": insert.excluded.updated_at},
            where=reservations.c.state != insert.excluded.state,
        )

    @classmethod
    def connect(cls, database_url: str) -> Self:
        """Return the store at `database_url`. Nothing is asked of the database yet."""
        url = sa.make_url(database_url)
        if url.get_backend_name() == "postgresql":
            connections, engine = POSTGRESQL_CONNECTIONS, _postgresql(url)
        else:
            connections, engine = 1, _sqlite(url)
        return cls(engine, ThreadPoolExecutor(connections, thread_name_prefix="reservations"))

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncIterator[Self]:
        """Open the store at `database_url`; at the end let running calls end, and close it."""
        store = cls.connect(database_url)
        try:
            yield store
        finally:
            store._threads.shutdown(cancel_futures=True)
            store._engine.dispose()

    async def migrate(self) -> None:
        """Bring the schema up to date. Of several processes one does it while the others wait.

        Raises `StoreUnavailable` when the database cannot answer.
        """
        await self._transact(_upgrade)

    async def reserve(self, trip_id: str, kind: Kind, item: str) -> None:
        """Hold `item` for the trip. Doing so again changes nothing.

        Raises `ReservationRefused` when the step was cancelled or holds another item, and
        `StoreUnavailable` when the database cannot answer.
        """
        row = _row(trip_id, kind, "reserved", item)
        held = await self._transact(lambda sql: sql.execute(self._reserve, row).one())
        if held.state == "cancelled":
            raise ReservationRefused(f"The {kind} of trip {trip_id} was undone already")
        if held.item != item:
            raise ReservationRefused(f"The {kind} of trip {trip_id} is {held.item}, not {item}")

    async def cancel(self, trip_id: str, kind: Kind) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone. Doing so again changes
        nothing. Raises `StoreUnavailable` when the database cannot answer.
        """
        await self._bury(trip_id, kind)

    async def settle(self, trip_id: str, kind: Kind) -> None:
        """Take it that the trip holds nothing of `kind` any more, and refuse every later `reserve`.

        Raises as `cancel` does.
        """
        await self._bury(trip_id, kind)

    async def of_trip(self, trip_id: str) -> list[Reservation]:
        """Return the rows of one trip, tombstones included, in the order of booking."""
        return await self._rows(reservations.c.trip_id == trip_id)

    async def all(self) -> list[Reservation]:
        """Return every row; for audits and tests."""
        return await self._rows(sa.true())

    async def _bury(self, trip_id: str, kind: Kind) -> None:
        row = _row(trip_id, kind, "cancelled", None)
        await self._transact(lambda sql: sql.execute(self._cancel, row))

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        columns = [reservations.c[name] for name in ("trip_id", "kind", "item", "state")]
        statement = (
            sa.select(*columns)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(_kind_order(), value=reservations.c.kind))
        )
        rows = await self._transact(lambda sql: sql.execute(statement).all())
        return [Reservation(*row) for row in rows]

    async def _transact(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do `work` in a transaction of its own, in a thread."""

        def transact() -> Answer:
            with self._engine.begin() as connection:
                return work(connection)

        # Whatever the driver says has SQL and addresses in it, which are not for travellers. It is
        # kept as the cause, for the logs.
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, transact)
        except (SQLAlchemyError, OSError) as error:
            if _is_bug(error):
                raise StoreBroken("The reservation store refuses the request") from error
            raise StoreUnavailable("The reservation store is unavailable") from error


def _is_bug(error: Exception) -> bool:
    """Tell whether the database has answered, and no later try can have another answer."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.OperationalError):
        # SQLite's word for a missing table or column. https://www.sqlite.org/rescode.html
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_ERROR
    return isinstance(error, (IntegrityError, ProgrammingError, DataError, NotSupportedError))


def _upgrade(connection: sa.Connection) -> None:
    # SQLite's BEGIN IMMEDIATE has locked out other migrators already.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config = Config()
    # Alembic interpolates `%` in its options.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _row(trip_id: str, kind: Kind, state: str, item: str | None) -> dict[str, object]:
    now = dt.datetime.now(dt.UTC)
    return {
        "trip_id": trip_id,
        "kind": kind,
        "item": item,
        "state": state,
        "created_at": now,
        "updated_at": now,
    }


def _kind_order() -> dict[str, int]:
    return {kind: position for position, kind in enumerate(KINDS)}


def _insert_for(dialect: str) -> Callable[[sa.Table], sqlite.Insert | postgresql.Insert]:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url,
        pool_size=POSTGRESQL_CONNECTIONS,
        pool_pre_ping=True,
        connect_args={"connect_timeout": int(BUSY_TIMEOUT)},
    )


def _sqlite(url: sa.URL) -> sa.Engine:
    # A relative path is one in the project's folder, whichever folder the process started in.
    database = PROJECT / (url.database or "")
    engine = sa.create_engine(
        url.set(database=str(database)), connect_args={"timeout": BUSY_TIMEOUT}
    )
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own implicit BEGIN is turned off so that ours below is the only one.
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # While another process writes to a new file, this fails at once: SQLite's busy timeout is not
    # for a change of the journal mode. https://www.sqlite.org/pragma.html#pragma_journal_mode
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_immediate(connection: sa.Connection) -> None:
    # Taking the write lock at once makes SQLite wait its busy timeout; upgrading a read
    # transaction later would fail at once. https://www.sqlite.org/lang_transaction.html
    connection.exec_driver_sql("BEGIN IMMEDIATE")
