"""The database under the record: SQLite or PostgreSQL, asked in threads, each call with a limit.

Whatever the database does, a call ends within `CALL_LIMIT`: answered, or as unavailable.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)

from record.errors import RecordBroken, RecordUnavailable
from record.schema import SchemaOutdated, is_current, prepare, upgrade

logger = logging.getLogger(__name__)

CALL_LIMIT = 10.0
"""Seconds after which a caller is told that the record is unavailable, whatever it waits for: a
thread, a connection, a lock, an answer."""

ANSWER_LIMIT = 5.0
"""Seconds that a connection, or a statement on it, may take. A PostgreSQL that is frozen keeps no
limit of its own, so this one is kept here, and it gives the connection up."""

LOCK_LIMIT = 2.0
"""Seconds that a statement waits in PostgreSQL for a row which another transaction has locked. The
thread is needed for other trips; whoever waits tries again."""

BUSY_LIMIT = 5.0
"""Seconds that a statement waits in SQLite, which has one writer at a time, for that one."""

CLOSE_LIMIT = 2.0
"""Seconds that a process which stops waits for the calls that are under way."""

POSTGRESQL_CONNECTIONS = 10
"""How many statements a process has under way at once."""

SQLITE_READERS = 4
"""How many statements that only read SQLite has under way at once, besides the one that writes."""

PROJECT = Path(__file__).parent.parent

Answer = TypeVar("Answer")


class Database:
    """A database, as its URL says. A brand-new one gets its schema with the first call.

    Each call hops to a thread and back once, for the whole of its transaction; a call that is given
    up goes on there. An asyncio driver of SQLite hops for each step of it, which costs four times
    the CPU.
    """

    def __init__(
        self, engine: sa.Engine, writers: ThreadPoolExecutor, readers: ThreadPoolExecutor
    ) -> None:
        self._engine = engine
        self._writers = writers
        self._readers = readers
        self._prepared = False
        self._preparing = threading.Lock()

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

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncIterator[Self]:
        """Connect, and close at the end."""
        database = cls.connect(database_url)
        try:
            yield database
        finally:
            await database.close()

    async def close(self) -> None:
        """Let running calls end, but wait no longer than one may take; then close."""
        ended = asyncio.Event()
        threading.Thread(
            target=self._shut_down, args=(asyncio.get_running_loop(), ended), daemon=True
        ).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), CLOSE_LIMIT)
        self._engine.dispose()

    def _shut_down(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        for threads in (self._writers, self._readers):
            threads.shutdown(cancel_futures=True)
        with contextlib.suppress(RuntimeError):  # The loop has not waited, and is closed.
            loop.call_soon_threadsafe(ended.set)

    async def prepare(self) -> None:
        """Give a brand-new database its schema, and see that any other has the one needed.

        Raises `RecordUnavailable`, also when somebody has to migrate it first.
        """
        await self._read(lambda sql: sql.execute(sa.text("SELECT 1 FROM trips LIMIT 1")))

    async def migrate(self) -> None:
        """Bring the schema up to date. Of several processes one does it while the others wait.

        It may take as long as it needs. Raises `RecordUnavailable` and `RecordBroken`.
        """
        await self._in_thread(self._writers, lambda: upgrade(_patient(self._engine)), limit=None)

    async def _write(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do `work` in a transaction of its own that may write."""
        return await self._in_thread(self._writers, lambda: self._transact(self._engine, work))

    async def _read(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do `work` in a transaction of its own that only reads."""
        return await self._in_thread(
            self._readers,
            lambda: self._transact(self._engine.execution_options(reads_only=True), work),
        )

    def _transact(self, engine: sa.Engine, work: Callable[[sa.Connection], Answer]) -> Answer:
        if not self._prepared:
            self._prepare()
        with engine.begin() as connection:
            return work(connection)

    def _prepare(self) -> None:
        with self._preparing:
            if not self._prepared:
                if not is_current(self._engine.execution_options(reads_only=True)):
                    prepare(self._engine)
                self._prepared = True

    async def _in_thread(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[[], Answer],
        limit: float | None = CALL_LIMIT,
    ) -> Answer:
        # Whatever the driver says has SQL and addresses in it, which are not for travellers. It is
        # kept as the cause, for the logs.
        try:
            async with asyncio.timeout(limit):
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        except TimeoutError as error:
            raise RecordUnavailable("The record does not answer") from error
        except SchemaOutdated as error:
            raise RecordUnavailable(str(error)) from error
        except (SQLAlchemyError, OSError) as error:
            if _is_bug(error):
                raise RecordBroken("The record refuses the request") from error
            raise RecordUnavailable("The record is unavailable") from error


def _is_bug(error: Exception) -> bool:
    """Tell whether the database has answered, and no later try can have another answer."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.OperationalError):
        # SQLite's word for a missing table or column. https://www.sqlite.org/rescode.html
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_ERROR
    return isinstance(error, (IntegrityError, ProgrammingError, DataError, NotSupportedError))


class _LimitedConnection(psycopg.Connection[Any]):
    """A connection whose server may be frozen: each wait for it has a limit."""

    def wait(
        self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None
    ) -> Answer:
        """Wait for an answer. Raises `psycopg.OperationalError` and gives the connection up."""
        try:
            return super().wait(gen, interval, ANSWER_LIMIT if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError("The server does not answer") from None


def _postgresql(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=POSTGRESQL_CONNECTIONS, pool_pre_ping=True)

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        limits = {
            "statement_timeout": ANSWER_LIMIT,
            "lock_timeout": LOCK_LIMIT,
            "idle_in_transaction_session_timeout": ANSWER_LIMIT,
        }
        told = " ".join(f"-c {name}={int(1000 * limit)}" for name, limit in limits.items())
        return _LimitedConnection.connect(
            *arguments,
            **{
                "connect_timeout": int(ANSWER_LIMIT),
                "tcp_user_timeout": int(1000 * ANSWER_LIMIT),
                **options,
                "options": f"{told} {options.get('options', '')}",
            },
        )

    return engine


def _patient(engine: sa.Engine) -> sa.Engine:
    """Return an engine without limits, for what may take long."""
    return engine if engine.dialect.name == "sqlite" else sa.create_engine(engine.url)


def _sqlite(url: sa.URL) -> sa.Engine:
    # A relative path is one in the project's folder, whichever folder the process started in.
    database = PROJECT / (url.database or "")
    engine = sa.create_engine(url.set(database=str(database)), connect_args={"timeout": BUSY_LIMIT})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own implicit BEGIN is turned off so that ours below is the only one.
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # While another process writes to a new file, this fails at once: SQLite's busy timeout is not
    # for a change of the journal mode. https://www.sqlite.org/pragma.html#pragma_journal_mode
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
