"""A database that misbehaves: each call of the record has a limit and says what was wrong."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from record import Record, RecordBroken, RecordUnavailable
from record import database as limits
from record.tables import audits, trips
from shared import KINDS
from tests.faults import DEADLINE
from tests.processes import ROOT
from tests.record.databases import (
    disconnect_all,
    execute,
    on_postgresql,
    on_sqlite,
    others,
    rows,
    small_disk,
    transaction,
    url_of,
)
from tests.record.trips import accepted, news, trip

UNAVAILABLE = r"\AThe record is unavailable\Z"
LOCKED = r"\AThe record is locked\Z"
FULL = r"\AThe record's disk is full\Z"
SILENT = r"\AThe record does not answer\Z"

Call = Callable[[Record], Awaitable[object]]

CALLS: dict[str, Call] = {
    "reserve": lambda record: record.reservations.reserve(trip(), "car"),
    "by_id": lambda record: record.trips.by_id("trip"),
}

of_each_kind = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


async def put(record: Record, *trip_ids: str) -> None:
    for trip_id in trip_ids:
        await record.trips.accept(accepted(trip_id))


def test_the_limits_fit_each_other() -> None:
    assert limits.LOCK_TRY < limits.LOCK_PAUSE < limits.LOCK_LIMIT < limits.STATEMENT_LIMIT
    # A server that lives gives a statement up itself, and keeps the connection.
    assert limits.STATEMENT_LIMIT < limits.ANSWER_LIMIT < limits.CALL_LIMIT
    assert limits.BUSY_LIMIT < limits.CALL_LIMIT
    assert limits.CLOSE_LIMIT < 5, "A process ends within its grace and five seconds"


def test_a_relative_file_lies_in_the_projects_folder_whichever_the_process_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = limits._sqlite(sa.make_url("sqlite:///a.db"))
    assert engine.url.database == str(ROOT / "a.db")


# Out of reach


@of_each_kind
@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://nobody:secret@127.0.0.1:{port}/x",
        "postgresql+psycopg://nobody:secret@no-such-host.invalid/x",
        "sqlite:///{folder}/missing/x.db",
        "sqlite:///{folder}",
        "sqlite:///{folder}/corrupt.db",
        "sqlite:///file:{folder}/read-only.db?mode=ro&uri=true",
    ],
)
async def test_a_database_out_of_reach_is_unavailable(
    tmp_path: Path, unused_tcp_port: int, url: str, call: Call
) -> None:
    (tmp_path / "corrupt.db").write_bytes(b"not a database" * 1000)
    with closing(sqlite3.connect(tmp_path / "read-only.db")) as empty:
        empty.execute("PRAGMA journal_mode = WAL")
    async with Record.open(url.format(folder=tmp_path, port=unused_tcp_port)) as record:
        # Neither the URL with its password nor the statement is in the message.
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await call(record)


async def test_a_record_that_nobody_holds_any_more_leaves_nothing_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app has no end, so the record of one that nobody serves any more is never closed."""
    monkeypatch.undo()  # The fixture `own_database` holds them all.
    record = Record.connect(database_url)
    await record.database.prepare()
    pool = record.database._engine.pool
    assert pool.checkedin() == 1  # type: ignore[attr-defined]  # A QueuePool.
    record.app = record  # type: ignore[attr-defined]  # A ring, as an app has many.
    del record
    async with asyncio.timeout(DEADLINE):
        while pool.checkedin():  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)  # The loop still holds what has just been done.
            gc.collect()


async def test_a_database_that_comes_later_is_used_from_then_on(tmp_path: Path) -> None:
    async with Record.open(f"sqlite:///{tmp_path}/later/x.db") as record:
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await record.reservations.reserve(trip(), "car")
        (tmp_path / "later").mkdir()
        await record.reservations.reserve(trip(), "car")


@on_postgresql
async def test_a_standby_that_refuses_writes_is_unavailable(database_url: str) -> None:
    name = sa.make_url(database_url).database
    execute(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with Record.open(database_url) as record:
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await record.reservations.reserve(trip(), "car")
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await record.database.check_writable()
        assert await record.trips.by_id("trip") is None


# Connections that break


@on_postgresql
@pytest.mark.parametrize(
    "code", ["08006", "25006", "25P03", "26000", "42P05", "57P01", "57P03", "57P05"]
)
async def test_a_state_of_a_connection_is_unavailable_and_the_next_call_has_another_one(
    database_url: str, code: str
) -> None:
    async with Record.open(database_url) as record:
        before = await backend_of(record)
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await record.database.write(
                lambda sql: sql.exec_driver_sql(
                    f"DO $$ BEGIN RAISE EXCEPTION 'odd' USING ERRCODE = '{code}'; END $$"
                )
            )
        assert await backend_of(record) != before


async def backend_of(record: Record) -> int | None:
    """Return the process that answers on the only connection of a record."""
    return await record.database.read(lambda sql: sql.scalar(sa.text("SELECT pg_backend_pid()")))


@on_postgresql
async def test_nothing_is_asked_of_a_pooler_and_the_limits_hold_in_each_transaction(
    database_url: str,
) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    asked = sa.text(
        ", ".join(["SELECT reset_val", "setting"]) + " FROM pg_settings WHERE name = :n"
    )

    def settings(sql: sa.Connection) -> list[tuple[str, str]]:
        return [tuple(sql.execute(asked, {"n": name}).one()) for name in names]

    async with Record.open(database_url) as record:
        for ask in (record.database.read, record.database.write):
            assert await ask(settings) == [("0", "4000"), ("0", "20"), ("0", "4000")]


@pytest.mark.parametrize(
    "error", [TypeError("odd"), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")]
)
async def test_what_no_driver_should_raise_is_a_bug(record: Record, error: Exception) -> None:
    def work(_sql: sa.Connection) -> None:
        raise error

    with pytest.raises(RecordBroken, match=r"\AThe record refuses the request\Z") as raised:
        await record.database.write(work)
    assert raised.value.__cause__ is error


# Whether it can be written


async def test_a_record_that_can_be_written_is_left_as_it_was(record: Record) -> None:
    await record.database.check_writable()
    assert rows(record, audits) == []


@on_postgresql
async def test_connections_that_were_dropped_while_idle_are_not_missed(
    record: Record, database: psycopg.Connection
) -> None:
    await record.reservations.reserve(trip(), "car")
    assert disconnect_all(database) > 0
    await record.reservations.cancel(trip(), "car")
    assert [row.state for row in await record.reservations.everything()] == ["cancelled"]


@on_postgresql
async def test_a_connection_that_drops_during_a_statement_is_unavailable_and_the_next_one_works(
    record: Record, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOCK_TRY", DEADLINE)
    monkeypatch.setattr(limits, "STATEMENT_LIMIT", DEADLINE)
    async with Record.open(url_of(record)) as other:
        await put(other, "trip")
        with locked(database):
            cancelling = asyncio.create_task(other.reservations.cancel(trip(), "car"))
            async with asyncio.timeout(DEADLINE):
                while not disconnect_all(database, "wait_event_type = 'Lock'"):
                    await asyncio.sleep(0.01)
                with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                    await cancelling
        assert await other.reservations.everything() == []
        await other.reservations.cancel(trip(), "car")
        assert [row.state for row in await other.reservations.everything()] == ["cancelled"]


@on_postgresql
async def test_connections_that_are_frozen_while_idle_are_given_up_for_others(
    record: Record, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_LIMIT", 0.5)
    with frozen(others(database)):
        await record.reservations.reserve(trip(), "car")


@on_postgresql
async def test_a_statement_that_takes_too_long_is_given_up_and_its_connection_is_not(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(sql: sa.Connection) -> object:
        return sql.scalar(sa.select(sa.func.pg_backend_pid()))

    # It limits the pauses between statements, too, which last on a machine that others share.
    monkeypatch.setattr(limits, "STATEMENT_LIMIT", 1.0)
    async with Record.open(url_of(record)) as other:
        before = await other.database.read(backend)
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await other.database.read(
                lambda sql: sql.execute(sa.select(sa.func.pg_sleep(DEADLINE)))
            )
        assert await other.database.read(backend) == before


@on_postgresql
async def test_who_is_frozen_in_a_transaction_holds_its_locks_no_longer_than_a_statement_may_take(
    pair: tuple[Record, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = pair
    await put(record, "trip")
    async with Record.open(url_of(record)) as other:
        with monkeypatch.context() as of_the_other:
            of_the_other.setattr(limits, "STATEMENT_LIMIT", 0.2)
            connection = other.database._engine.connect()
        connection.execute(sa.text("SELECT * FROM trips FOR UPDATE"))
        await record.reservations.cancel(trip(), "car")
        connection.invalidate()
        connection.close()


# A server that says nothing


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and says nothing; yields its database URL."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"postgresql+psycopg://trips@127.0.0.1:{silent.getsockname()[1]}/trips"


async def test_a_server_that_takes_a_connection_and_says_nothing_is_unavailable_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ANSWER_LIMIT", 2.0)
    with silent_server() as url:
        async with asyncio.timeout(DEADLINE), Record.open(url) as record:
            with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                await record.reservations.reserve(trip(), "car")


@of_each_kind
async def test_no_call_takes_longer_than_its_limit_whatever_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setattr(limits, "CALL_LIMIT", 0.2)
    monkeypatch.setattr(limits, "CLOSE_LIMIT", 0.1)
    monkeypatch.setattr(limits, "ANSWER_LIMIT", DEADLINE)
    with silent_server() as url:
        async with asyncio.timeout(DEADLINE / 2), Record.open(url) as record:
            # More than there are threads: some wait for one.
            calls = [call(record) for _ in range(limits.POSTGRESQL_CONNECTIONS + 5)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {f"{type(answer).__name__}: {answer}" for answer in answers} == {
                "RecordUnavailable: The record does not answer"
            }
            assert any(thread.is_alive() for thread in record.database._writers._threads)
        # Closing has not waited for the calls that were given up, either.
        assert any(thread.is_alive() for thread in record.database._writers._threads)


@on_sqlite
async def test_a_call_that_was_given_up_while_it_waited_for_its_turn_is_not_made_later(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_LIMIT", 0.2)
    with closing(sqlite3.connect(record.database._engine.url.database or "")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(put(record, "first"))
        await asyncio.sleep(0)
        with pytest.raises(RecordUnavailable, match=SILENT):
            await put(record, "second")
        with pytest.raises(RecordUnavailable, match=SILENT):
            await first
    monkeypatch.setattr(limits, "CALL_LIMIT", DEADLINE)
    await put(record, "third")
    assert await record.trips.missing({"first", "second", "third"}) == {"second"}


# Locks


async def test_a_locked_record_can_be_read_and_is_unavailable_for_writes_until_it_is_released(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOCK_LIMIT", 0.3)
    monkeypatch.setattr(limits, "BUSY_LIMIT", 0.05)
    await put(record, "trip")
    async with Record.open(url_of(record)) as other:
        with transaction(record) as locking:
            # Any transaction that may write locks SQLite.
            locking.execute(sa.select(trips).with_for_update())
            with pytest.raises(RecordUnavailable, match=LOCKED):
                await other.reservations.reserve(trip(), "car")
            assert await other.trips.by_id("trip") == accepted()
        await other.reservations.reserve(trip(), "car")


@on_postgresql
@pytest.mark.parametrize("what", ["trips", "reservations"])
async def test_trips_that_a_forgotten_transaction_has_locked_delay_no_other(
    record: Record, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(limits, "LOCK_LIMIT", DEADLINE)
    monkeypatch.setattr(limits, "CALL_LIMIT", DEADLINE)
    several = [trip(f"trip-{number}") for number in range(3 * limits.POSTGRESQL_CONNECTIONS)]
    await asyncio.gather(*(record.reservations.reserve(each, "car") for each in several))
    with locked(database, what):
        waiting = [asyncio.create_task(record.reservations.cancel(each, "car")) for each in several]
        await asyncio.sleep(0)
        for number in range(5):
            other = trip(f"other-{number}")
            await put(record, other.book_user_id)
            for kind in KINDS:
                await record.reservations.reserve(other, kind)
            await record.trips.tell(other, news())
        assert [call for call in waiting if call.done()] == []
    # They go on by themselves once it is over.
    await asyncio.gather(*waiting)
    held = {
        row.trip_id for row in await record.reservations.everything() if row.state == "reserved"
    }
    assert held == {f"other-{number}" for number in range(5)}


# A full disk


async def test_a_full_disk_is_unavailable_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        async with Record.open(f"sqlite:///{disk}/full.db") as record:
            await record.database.prepare()
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(500_000))
            written = await fill_up(record, FULL)
            with pytest.raises(RecordUnavailable, match=FULL):
                await record.database.check_writable()
            # What is there can be read, and nothing of what was refused is there.
            assert len(await record.reservations.everything()) == written
            assert len(await record.trips.page(1000)) == written
            ballast.unlink()
            await record.database.check_writable()
            await record.reservations.reserve(trip("a-last-trip"), "car")


async def test_a_file_that_may_grow_no_more_is_unavailable_until_it_may(tmp_path: Path) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with Record.open(f"sqlite:///{tmp_path}/full.db") as record:
        await record.database.prepare()
        # It limits this whole process, which writes no other file meanwhile.
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, unlimited[1]))
        try:
            written = await fill_up(record, UNAVAILABLE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert len(await record.reservations.everything()) == written
        await record.reservations.reserve(trip("a-last-trip"), "car")


async def fill_up(record: Record, why: str) -> int:
    """Reserve until there is no room, and return how many reservations there was room for."""
    written = 0
    with pytest.raises(RecordUnavailable, match=why):
        while written < 1_000:
            await record.reservations.reserve(
                trip(f"trip-{written}", book_car_id="a-car" * 200), "car"
            )
            written += 1
    assert written
    return written


# SQLite's ways


@on_sqlite
async def test_sqlite_writes_ahead(record: Record) -> None:
    with closing(sqlite3.connect(record.database._engine.url.database or "")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_new_sqlite_file_is_waited_for_while_another_process_writes_to_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "new.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        async with Record.open(f"sqlite:///{file}") as record:
            reserving = asyncio.create_task(record.reservations.reserve(trip(), "car"))
            # A failure would end it well before; a success cannot come before the rollback.
            await asyncio.wait({reserving}, timeout=0.3)
            assert not reserving.done()
            writer.execute("ROLLBACK")
            await reserving


@contextmanager
def locked(database: psycopg.Connection, what: str = "trips") -> Iterator[None]:
    """Lock every row that a table has now, as somebody does who forgets a transaction."""
    with database.transaction():
        database.execute("SELECT * FROM trips FOR UPDATE" if what == "trips" else ROWS)
        yield


ROWS = "SELECT * FROM reservations FOR UPDATE"


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Freeze processes of the server."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
