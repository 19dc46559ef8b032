"""The database under the record: SQLite or PostgreSQL, asked in threads, each call with a limit.

Whatever the database does, a call ends within `CALL_LIMIT`, with its answer or as unavailable.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import secrets
import sqlite3
import threading
import time
import urllib.parse
import uuid
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, Self, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from record.errors import (
    RecordBroken,
    RecordError,
    RecordMisconfigured,
    RecordUnavailable,
    is_set_up_wrongly,
)
from record.schema import SETTINGS, SchemaOutdated, is_current, prepare, upgrade
from record.tables import UtcTime, audits
from shared import keep_private

CALL_LIMIT = 10.0
"""Seconds after which a caller is told that the record is unavailable, whatever it waits for: a
thread, a connection, a lock, an answer."""

STATEMENT_LIMIT = 4.0
"""Seconds after which PostgreSQL ends a statement, or a transaction in which nothing happens. So a
frozen process of ours does not hold its locks for longer."""

ANSWER_LIMIT = 5.0
"""Seconds that a connection to PostgreSQL, or an answer on it, may take. A frozen server keeps no
limit of its own, so the client keeps this one, and closes the connection."""

LOCK_LIMIT = 2.0
"""Seconds after which a call gives up that waits for another transaction's lock in PostgreSQL."""

LOCK_TRY = 0.02
"""Seconds that a statement waits for such a lock in its thread, which other trips need. Then the
call waits without a thread and tries again."""

LOCK_PAUSE = 0.25
"""The most seconds that the call waits so before each try."""

BUSY_LIMIT = 5.0
"""Seconds that a statement waits in SQLite for the writer; there is one at a time."""

ISOLATION = "READ COMMITTED"
"""How transactions see each other, whatever the database says: each locks what it changes."""

CONNECTION: dict[str, Any] = {"client_encoding": "utf8", "prepare_threshold": None}
"""Texts are read and written in UTF-8, whatever the database, the role and the URL say. Nothing is
prepared: a pooler may hand a transaction to a connection that does not know the statement."""

STATES_OF_A_CONNECTION = ("08", "57P", "25006", "25P03", "26000", "42P05")
"""Beginnings of PostgreSQL's codes for failures that another connection does not have: it is cut,
its server stops or has become read-only, or a pooler has mixed up its prepared statements.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""

MIGRATION_LIMIT = 86_400.0
"""Seconds that a migration waits in SQLite for another one, or for any other writer."""

SETUP_LIMIT = 1.0
"""Seconds in which a process that starts may learn that its database is set up wrongly."""

CLOSE_LIMIT = 2.0
"""Seconds that a process which stops waits for the calls that are under way."""

POSTGRESQL_CONNECTIONS = 10
"""How many statements a process has under way at once."""

PROBE_BYTES = 32_768
"""What is written, and taken back at once, to see whether there is room."""

SQLITE_READERS = 4
"""How many reading statements SQLite has under way at once, besides the one that writes."""

PROJECT = Path(__file__).parent.parent

Answer = TypeVar("Answer")

Values = Mapping[str, Any]


class Connections(NamedTuple):
    """How many connections this process uses, how many are idle, and how many it may use."""

    in_use: int
    idle: int
    most: int


class Database:
    """A database, as its URL says. A brand-new one gets its schema with the first call.

    Each call hops to a thread and back once, for its whole transaction. When the caller gives it
    up, the transaction goes on in the thread. An asyncio driver of SQLite hops for each step, which
    costs four times the CPU.
    """

    def __init__(
        self, engine: sa.Engine, writers: ThreadPoolExecutor, readers: ThreadPoolExecutor
    ) -> None:
        self._engine = engine
        self._writers = writers
        self._readers = readers
        self._prepared = False
        self._preparing = threading.Lock()
        # A database that nobody closes, such as that of a test's app, leaves nothing open.
        weakref.finalize(self, engine.dispose).atexit = False

    @classmethod
    def connect(cls, database_url: str) -> Self:
        """Return the database at `database_url`. Nothing is asked of it yet."""
        url = sa.make_url(database_url)
        if url.get_backend_name() == "postgresql":
            threads = ThreadPoolExecutor(POSTGRESQL_CONNECTIONS, thread_name_prefix="record")
            return cls(_postgresql(url), threads, threads)
        return cls(
            _sqlite(url),
            ThreadPoolExecutor(1, thread_name_prefix="record-writer"),
            ThreadPoolExecutor(SQLITE_READERS, thread_name_prefix="record-reader"),
        )

    async def close(self) -> None:
        """Let running calls end, and close. It does not wait for longer than `CLOSE_LIMIT`."""
        # A thread of its own, because the loop's own threads would hold up the end of the loop.
        closing = asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), self._close)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closing, CLOSE_LIMIT)

    def _close(self) -> None:
        for threads in (self._writers, self._readers):
            threads.shutdown(cancel_futures=True)
        self._engine.dispose()

    def connections(self) -> Connections:
        """Return how many connections there are. The database is not asked."""
        pool = cast(sa.QueuePool, self._engine.pool)
        # The pool would open more than there are threads to use them.
        on_postgresql = self._engine.dialect.name == "postgresql"
        most = POSTGRESQL_CONNECTIONS if on_postgresql else 1 + SQLITE_READERS
        return Connections(pool.checkedout(), pool.checkedin(), most)

    async def prepare(self) -> None:
        """Give a brand-new database its schema, and check that any other has the needed one.

        Raises `RecordUnavailable`, also when somebody has to migrate it first, and
        `RecordMisconfigured`.
        """
        await self.read(lambda sql: sql.execute(sa.text("SELECT 1 FROM trips LIMIT 1")))

    async def check_writable(self) -> None:
        """Check that there is room for a trip: write more than one takes, and take it back.

        Raises `RecordUnavailable`, also when the disk is full or the server has become read-only.
        """
        probe_id, ballast = f"probe {uuid.uuid4()}", secrets.token_hex(PROBE_BYTES // 2)
        values = {"audit_id": probe_id, "began_at": dt.datetime.now(dt.UTC), "differences": ballast}

        def probe(sql: sa.Connection) -> None:
            sql.execute(sa.text("SELECT 1 FROM trips LIMIT 1"))
            sql.execute(sa.insert(audits).values(values))
            sql.execute(sa.delete(audits).where(audits.c.audit_id == probe_id))

        await self.write(probe)

    async def check_setup(self) -> None:
        """Prepare the database. After `SETUP_LIMIT`, or if it is away, a process goes on without.

        Raises `RecordMisconfigured`.
        """
        with contextlib.suppress(TimeoutError, RecordUnavailable):
            async with asyncio.timeout(SETUP_LIMIT):
                await self.prepare()

    async def migrate(self) -> None:
        """Bring the schema up to date. Of several processes one does it while the others wait.

        It may take as long as it needs. Raises `RecordUnavailable` and `RecordBroken`.
        """
        await self._answered(self._upgrade, self._writers, limit=None)

    def _upgrade(self) -> None:
        patient = _patient(self._engine.url)
        try:
            upgrade(patient)
        finally:
            patient.dispose()

    async def write(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do `work` in a transaction of its own that may write."""
        return await self._answered(
            lambda: self._transact(self._engine, work), self._writers, CALL_LIMIT
        )

    async def read(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do `work` in a transaction of its own that only reads."""
        return await self._answered(
            lambda: self._transact(self._reading, work), self._readers, CALL_LIMIT
        )

    @functools.cached_property
    def _reading(self) -> sa.Engine:
        return self._engine.execution_options(reads_only=True)

    def _transact(self, engine: sa.Engine, work: Callable[[sa.Connection], Answer]) -> Answer:
        if not self._prepared:
            self._prepare()
        with engine.begin() as connection:
            return work(connection)

    def _prepare(self) -> None:
        with self._preparing:
            if not self._prepared:
                if not is_current(self._reading):
                    prepare(self._engine)
                self._prepared = True

    async def _answered(
        self,
        work: Callable[[], Answer],
        threads: ThreadPoolExecutor,
        limit: float | None,
    ) -> Answer:
        """Do `work` in a thread; raise what its failure, or its silence, means."""
        try:
            async with asyncio.timeout(limit):
                return await _past_locks(work, threads)
        except TimeoutError as error:
            raise RecordUnavailable("The record does not answer") from error
        except SchemaOutdated as error:
            raise RecordUnavailable(str(error)) from error
        except RecordError:
            raise
        except Exception as error:
            # The driver's text has SQL and addresses in it, which are not for travellers. It stays
            # as the cause, for the logs.
            raise _meaning_of(error) from error


class _Part(Protocol):
    _database: Database


PartT = TypeVar("PartT", bound=_Part)
Given = ParamSpec("Given")


def writes(
    work: Callable[Concatenate[PartT, sa.Connection, Given], Answer],
) -> Callable[Concatenate[PartT, Given], Coroutine[Any, Any, Answer]]:
    """Make a method that does `work` in a transaction, whose connection `work` is given."""

    @functools.wraps(work)
    async def method(part: PartT, /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return await part._database.write(lambda sql: work(part, sql, *args, **kwargs))

    return method


def now_in(sql: sa.Connection) -> dt.datetime:
    """Return the time by the database's clock. SQLite's is this host's."""
    if sql.dialect.name == "sqlite":
        return dt.datetime.now(dt.UTC)
    return sql.execute(_CLOCK).scalar_one()


def add_if_new(sql: sa.Connection, table: sa.Table, values: Values | Sequence[Values]) -> bool:
    """Write a row, or several, unless another is in its way; tell whether any was written."""
    return sql.execute(_insert_if_new(table, sql.dialect.name), values).first() is not None


@functools.cache
def _insert_if_new(table: sa.Table, dialect: str) -> sa.Executable:
    # It is made once: to make a statement takes longer than to run it.
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing().returning(*table.primary_key)


_CLOCK = sa.select(sa.func.clock_timestamp(type_=UtcTime))


async def _past_locks(work: Callable[[], Answer], threads: ThreadPoolExecutor) -> Answer:
    """Do `work` in a thread. While it ends at a lock, wait without a thread and do it again.

    If calls waited for a lock in their threads, the trips that an operator's forgotten transaction
    has locked would soon take all threads.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_LIMIT
    pause = LOCK_TRY
    while True:
        try:
            return await loop.run_in_executor(threads, work)
        except OperationalError as error:
            locked = isinstance(error.orig, psycopg.errors.LockNotAvailable)
            if not locked or loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LOCK_PAUSE)


def _meaning_of(error: Exception) -> RecordError:
    """Return what the failure of a call means here."""
    orig = getattr(error, "orig", None)
    if _is_state_of_connection(orig):
        return RecordUnavailable("The record is unavailable")
    if is_set_up_wrongly(orig):
        return RecordMisconfigured("The record's database is not set up for it")
    code = getattr(orig, "sqlite_errorcode", None)
    if isinstance(orig, psycopg.errors.LockNotAvailable) or code == sqlite3.SQLITE_BUSY:
        return RecordUnavailable("The record is locked")
    if isinstance(orig, psycopg.errors.DiskFull) or code == sqlite3.SQLITE_FULL:
        return RecordUnavailable("The record's disk is full")
    is_bug = isinstance(error, (IntegrityError, ProgrammingError, DataError, NotSupportedError))
    # SQLite's word for a missing table or column. https://www.sqlite.org/rescode.html
    is_bug = is_bug or code == sqlite3.SQLITE_ERROR
    # Otherwise SQLAlchemy has not understood the question, or the answer.
    was_asked = isinstance(error, (DBAPIError, OSError))
    if is_bug or not was_asked:
        return RecordBroken("The record refuses the request")
    return RecordUnavailable("The record is unavailable")


class _LimitedConnection(psycopg.Connection[Any]):
    """A connection with a limit for each wait: its server may be frozen."""

    def wait(
        self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None
    ) -> Answer:
        """Wait for an answer. If it does not come, the connection is closed."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_LIMIT)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def _postgresql(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_size=POSTGRESQL_CONNECTIONS,
        pool_pre_ping=True,
        hide_parameters=True,
        # The event below begins each transaction, so the driver does not.
        isolation_level="AUTOCOMMIT",
        connect_args=CONNECTION,
    )

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        limits = {
            "connect_timeout": int(ANSWER_LIMIT),
            "tcp_user_timeout": int(1000 * ANSWER_LIMIT),
        }
        return _LimitedConnection.connect(*arguments, **limits | options)

    beginning = _beginning()
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(beginning))
    sa.event.listen(engine, "handle_error", _throw_away)
    return engine


def _beginning() -> str:
    """Return how a transaction in PostgreSQL begins, in one round trip.

    A pooler may refuse settings at the start of a connection, and may hand the next transaction to
    another connection.
    """
    settings = {
        "statement_timeout": f"{1000 * STATEMENT_LIMIT:.0f}ms",
        "lock_timeout": f"{1000 * LOCK_TRY:.0f}ms",
        "idle_in_transaction_session_timeout": f"{1000 * STATEMENT_LIMIT:.0f}ms",
        **SETTINGS,
    }
    begin = f"BEGIN ISOLATION LEVEL {ISOLATION}"
    return "; ".join([begin, *(f"SET LOCAL {name} = '{settings[name]}'" for name in settings)])


def _throw_away(context: sa.ExceptionContext) -> None:
    """Throw all pooled connections away if the state of one is why a statement has failed."""
    if _is_state_of_connection(context.original_exception):
        context.is_disconnect = True


def _is_state_of_connection(error: object) -> bool:
    return str(getattr(error, "sqlstate", "")).startswith(STATES_OF_A_CONNECTION)


def _sqlite(url: sa.URL, busy_limit: float | None = None) -> sa.Engine:
    # A relative path starts at the project's folder, wherever the process was started.
    database = url.database or ""
    file = PROJECT / database
    if database.startswith("file:"):  # https://www.sqlite.org/uri.html
        file = Path(urllib.parse.unquote(urllib.parse.urlsplit(database).path))
    else:
        database = str(file)
    limits = {"timeout": BUSY_LIMIT if busy_limit is None else busy_limit}
    # An error's text goes to the logs, and the parameters have travellers' names in them.
    engine = sa.create_engine(url.set(database=database), connect_args=limits, hide_parameters=True)
    sa.event.listen(engine, "do_connect", lambda *_: keep_private(file))
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _patient(url: sa.URL) -> sa.Engine:
    """Return an engine without limits, for migrations."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, MIGRATION_LIMIT)
    return sa.create_engine(
        url, hide_parameters=True, isolation_level=ISOLATION, connect_args=CONNECTION
    )


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own implicit BEGIN is turned off so that ours below is the only one.
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # While another process writes to a new file, this fails at once: SQLite's busy timeout does not
    # count for a change of the journal mode. https://www.sqlite.org/pragma.html#pragma_journal_mode
    deadline = time.monotonic() + BUSY_LIMIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: sa.Connection) -> None:
    # Taking the write lock at once makes SQLite wait its busy timeout; upgrading a read
    # transaction later would fail at once. https://www.sqlite.org/lang_transaction.html
    reads_only = connection.get_execution_options().get("reads_only")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
