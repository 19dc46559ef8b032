"""The reservation store, over SQLite and PostgreSQL alike."""

import asyncio
import multiprocessing
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import LiteralString, cast

import psycopg
import pytest
import sqlalchemy as sa

from record import (
    Record,
    RecordBroken,
    RecordUnavailable,
    Reservation,
    ReservationRefused,
    reservations,
)
from shared import KINDS, Kind

UNAVAILABLE = r"\AThe reservation store is unavailable\Z"

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Call = Callable[[Record], Awaitable[object]]

each_call = pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.migrate(), id="migrate"),
        pytest.param(lambda store: store.reserve("trip", "car", "a-car"), id="reserve"),
        pytest.param(lambda store: store.cancel("trip", "car"), id="cancel"),
        pytest.param(lambda store: store.of_trip("trip"), id="of_trip"),
        pytest.param(lambda store: store.all_reservations(), id="all"),
    ],
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Record]:
    """An empty, migrated store over each kind of database."""
    async with Record.open(database_url) as opened:
        await opened.migrate()
        yield opened


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[tuple[Record, Record]]:
    """Two stores with connections of their own over one migrated database."""
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Record.open(database_url)) for _ in range(2)
        ]
        await first.migrate()
        yield first, second


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Four processes that share nothing with this one."""
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        yield pool


# One booking per step, however often it is asked for


async def test_reserving_holds_the_item_and_returns_nothing(store: Record) -> None:
    answer: object = await store.reserve("trip", "car", "a-car")  # type: ignore[func-returns-value]
    assert answer is None
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "reserved")]


async def test_reserving_again_changes_nothing(store: Record, database_url: str) -> None:
    await store.reserve("trip", "car", "a-car")
    before = rows(database_url)
    await store.reserve("trip", "car", "a-car")
    assert rows(database_url) == before


async def test_many_reserves_at_once_are_one_reservation(
    pair: tuple[Record, Record],
) -> None:
    calls = [store.reserve("trip", "car", "a-car") for store in pair for _ in range(25)]
    await asyncio.gather(*calls)
    assert await pair[0].all_reservations() == [Reservation("trip", "car", "a-car", "reserved")]


async def test_another_item_than_the_one_held_is_refused(store: Record) -> None:
    await store.reserve("trip", "car", "a-car")
    with pytest.raises(ReservationRefused, match=r"\AThe car of trip trip is a-car, not another\Z"):
        await store.reserve("trip", "car", "another")
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "reserved")]


async def test_of_two_items_at_once_one_is_held_and_the_other_refused(
    pair: tuple[Record, Record],
) -> None:
    calls = [store.reserve("trip", "car", item) for store, item in zip(pair, "ab", strict=True)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "ReservationRefused"]
    winner = "ab"[answers.index(None)]
    assert await pair[0].all_reservations() == [Reservation("trip", "car", winner, "reserved")]


async def test_trips_and_kinds_do_not_touch_each_other(store: Record) -> None:
    for trip_id in ("one", "two"):
        for kind in KINDS:
            await store.reserve(trip_id, kind, "the-same")
    await store.cancel("one", "hotel")
    assert [
        (row.trip_id, row.kind) for row in await store.all_reservations() if row.state == "reserved"
    ] == [
        *(("one", kind) for kind in KINDS if kind != "hotel"),
        *(("two", kind) for kind in KINDS),
    ]


async def test_a_trip_is_shown_in_the_order_of_booking(store: Record) -> None:
    await store.cancel("trip", "flight")
    await store.reserve("trip", "hotel", "a-hotel")
    await store.reserve("trip", "car", "a-car")
    await store.reserve("another", "car", "a-car")
    assert await store.of_trip("trip") == [
        Reservation("trip", "car", "a-car", "reserved"),
        Reservation("trip", "hotel", "a-hotel", "reserved"),
        Reservation("trip", "flight", None, "cancelled"),
    ]


@pytest.mark.parametrize("item", ["'; DROP TABLE reservations; --", "🏖️ 山田", "%s ? :x", "a" * 200])
async def test_any_text_is_an_item(store: Record, item: str) -> None:
    await store.reserve(item, "car", item)
    assert await store.all_reservations() == [Reservation(item, "car", item, "reserved")]


# A tombstone refuses


async def test_settling_leaves_a_tombstone_as_cancelling_does(store: Record) -> None:
    await store.reserve("trip", "car", "a-car")
    for kind in ("car", "hotel"):
        await store.settle("trip", kind)
        with pytest.raises(ReservationRefused):
            await store.reserve("trip", kind, "another")
    assert {row.state for row in await store.of_trip("trip")} == {"cancelled"}


async def test_cancelling_leaves_a_tombstone(store: Record) -> None:
    await store.reserve("trip", "car", "a-car")
    await store.cancel("trip", "car")
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "cancelled")]


async def test_cancelling_what_was_never_reserved_leaves_a_tombstone(
    store: Record,
) -> None:
    await store.cancel("trip", "car")
    assert await store.all_reservations() == [Reservation("trip", "car", None, "cancelled")]


async def test_cancelling_again_changes_nothing(store: Record, database_url: str) -> None:
    await store.reserve("trip", "car", "a-car")
    await store.cancel("trip", "car")
    before = rows(database_url)
    await store.cancel("trip", "car")
    assert rows(database_url) == before


@pytest.mark.parametrize("booked_before", [True, False])
async def test_a_tombstone_refuses_every_later_reserve(store: Record, booked_before: bool) -> None:
    if booked_before:
        await store.reserve("trip", "car", "a-car")
    await store.cancel("trip", "car")
    tombstone = await store.all_reservations()
    for item in ("a-car", "another"):
        with pytest.raises(ReservationRefused, match="The car of trip trip was undone already"):
            await store.reserve("trip", "car", item)
    assert await store.all_reservations() == tombstone


async def test_a_reserve_that_races_its_cancel_always_ends_cancelled(
    pair: tuple[Record, Record],
) -> None:
    for store, other in (pair, pair[::-1]):
        await race(store, other, trips=40)
    assert {row.state for row in await pair[0].all_reservations()} == {"cancelled"}


async def test_reserves_that_race_cancels_of_other_processes_always_end_cancelled(
    store: Record, database_url: str, processes: ProcessPoolExecutor
) -> None:
    await in_processes(processes, _race_alone, database_url)
    held = await store.all_reservations()
    assert len(held) == 20
    assert {row.state for row in held} == {"cancelled"}


def _race_alone(database_url: str) -> None:
    async def run() -> None:
        async with Record.open(database_url) as store:
            await race(store, store, trips=20)

    asyncio.run(run())


async def race(store: Record, other: Record, trips: int) -> None:
    for number in range(trips):
        reserving = store.reserve(f"trip-{number}", "car", "a-car")
        cancelling = other.cancel(f"trip-{number}", "car")
        answers = await asyncio.gather(reserving, cancelling, return_exceptions=True)
        assert answers[1] is None
        assert answers[0] is None or isinstance(answers[0], ReservationRefused)


# The schema


async def test_many_migrations_at_once_are_one(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Record.open(database_url)) for _ in range(8)]
        await asyncio.gather(*(store.migrate() for store in stores))
        await stores[0].reserve("trip", "car", "a-car")


async def test_a_new_sqlite_file_is_waited_for_while_another_process_writes_to_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "new.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        async with Record.open(f"sqlite:///{file}") as store:
            migrating = asyncio.create_task(store.migrate())
            # A failure would end it well before; a success cannot come before the rollback.
            await asyncio.wait({migrating}, timeout=0.3)
            assert not migrating.done()
            writer.execute("ROLLBACK")
            await migrating
            await store.reserve("trip", "car", "a-car")


async def test_many_processes_migrate_at_once(
    database_url: str, processes: ProcessPoolExecutor
) -> None:
    await in_processes(processes, _migrate_alone, database_url)
    async with Record.open(database_url) as store:
        assert await store.all_reservations() == []


def _migrate_alone(database_url: str) -> None:
    async def run() -> None:
        async with Record.open(database_url) as store:
            await store.migrate()

    asyncio.run(run())


async def test_migrating_again_keeps_what_is_held(store: Record) -> None:
    await store.reserve("trip", "car", "a-car")
    await store.migrate()
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "reserved")]


async def test_the_schema_has_the_columns_that_the_queries_know(
    store: Record, database_url: str
) -> None:
    with engine(database_url).connect() as connection:
        columns = sa.inspect(connection).get_columns("reservations")
    assert {column["name"]: column["nullable"] for column in columns} == {
        column.name: column.nullable for column in reservations.reservations.columns
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "lost"},
        {"state": "reserved", "item": None},
        {"trip_id": None},
        {"created_at": None},
    ],
    ids=lambda wrong: "-".join(wrong),
)
async def test_the_schema_refuses_what_no_reservation_can_be(
    store: Record, database_url: str, wrong: dict[str, str | None]
) -> None:
    row = {"trip_id": "trip", "kind": "car", "item": "a-car", "state": "reserved"}
    now = dict.fromkeys(("created_at", "updated_at"), sa.func.now())
    statement = sa.insert(reservations.reservations).values({**row, **now, **wrong})
    with pytest.raises(sa.exc.IntegrityError), engine(database_url).begin() as connection:
        connection.execute(statement)
    assert await store.all_reservations() == []


@on_sqlite
async def test_sqlite_writes_ahead(store: Record, database_url: str) -> None:
    with closing(sqlite3.connect(sa.make_url(database_url).database or "")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_the_schema_takes_a_kind_that_came_later(store: Record, database_url: str) -> None:
    await store.reserve("trip", cast(Kind, "boat"), "a-boat")
    assert [row.item for row in await store.of_trip("trip")] == ["a-boat"]


async def test_a_server_that_takes_a_connection_and_says_nothing_is_unavailable_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reservations, "BUSY_TIMEOUT", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://trips@127.0.0.1:{silent.getsockname()[1]}/trips"
        async with asyncio.timeout(30), Record.open(url) as store:
            with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                await store.reserve("trip", "car", "a-car")


# A database that refuses for good


async def drop_table(database_url: str) -> None:
    with engine(database_url).begin() as connection:
        connection.execute(sa.text("DROP TABLE reservations"))


@pytest.mark.parametrize("call", ["reserve", "cancel", "settle"])
async def test_a_missing_table_is_a_bug_and_not_an_outage(
    store: Record, database_url: str, call: str
) -> None:
    await drop_table(database_url)
    arguments = ("trip", "car", "a-car") if call == "reserve" else ("trip", "car")
    with pytest.raises(RecordBroken, match=r"\AThe reservation store refuses the request\Z"):
        await getattr(store, call)(*arguments)


async def test_a_violated_constraint_is_a_bug_and_not_an_outage(store: Record) -> None:
    with pytest.raises(RecordBroken):
        await store.reserve("trip", "car", cast(str, None))


# A database that does not answer


@each_call
async def test_a_locked_database_is_unavailable_until_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setattr(reservations, "BUSY_TIMEOUT", 0.05)
    async with Record.open(f"sqlite:///{tmp_path}/locked.db") as store:
        await store.migrate()
        with closing(sqlite3.connect(tmp_path / "locked.db")) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                await call(store)
            assert writer.execute("SELECT * FROM reservations").fetchall() == []
        await call(store)


@each_call
@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://nobody:secret@127.0.0.1:{port}/x",
        "postgresql+psycopg://nobody:secret@no-such-host.invalid/x",
        "sqlite:///{folder}/missing/x.db",
        "sqlite:///{folder}",
        "sqlite:///file:{folder}/read-only.db?mode=ro&uri=true",
    ],
)
async def test_a_database_out_of_reach_is_unavailable(
    tmp_path: Path, unused_tcp_port: int, url: str, call: Call
) -> None:
    with closing(sqlite3.connect(tmp_path / "read-only.db")) as empty:
        empty.execute("PRAGMA journal_mode = WAL")
    async with Record.open(url.format(folder=tmp_path, port=unused_tcp_port)) as store:
        # Neither the URL with its password nor the statement is in the message.
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await call(store)


async def test_a_full_disk_is_unavailable_until_there_is_room(
    tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    # In a process of its own, because the limit is one of the whole process.
    url = f"sqlite:///{tmp_path}/full.db"
    await asyncio.get_running_loop().run_in_executor(processes, _fill_the_disk, url)


def _fill_the_disk(database_url: str) -> None:
    async def run() -> None:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        async with Record.open(database_url) as store:
            await store.migrate()
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
            written = 0
            with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                while True:
                    await store.reserve(f"trip-{written}", "car", "a-car" * 1000)
                    written += 1
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            assert len(await store.all_reservations()) == written > 0
            await store.reserve("a-last-trip", "car", "a-car")

    asyncio.run(run())


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "corrupt.db").write_bytes(b"not a database" * 1000)
    async with Record.open(f"sqlite:///{tmp_path}/corrupt.db") as store:
        with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
            await store.migrate()


@on_postgresql
async def test_a_standby_that_refuses_writes_is_unavailable(
    store: Record, database: psycopg.Connection
) -> None:
    name = database.info.dbname
    database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    disconnect_all(database)
    with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
        await store.reserve("trip", "car", "a-car")


@on_postgresql
async def test_connections_that_were_dropped_while_idle_are_not_missed(
    store: Record, database: psycopg.Connection
) -> None:
    await store.reserve("trip", "car", "a-car")
    assert disconnect_all(database) > 0
    await store.cancel("trip", "car")
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "cancelled")]


@on_postgresql
async def test_a_connection_that_drops_during_a_statement_is_unavailable_and_the_next_one_works(
    store: Record, database: psycopg.Connection
) -> None:
    with database.transaction():
        # Another writer holds the row, so the statement waits while its connection is dropped.
        database.execute(
            "INSERT INTO reservations VALUES ('trip', 'car', 'a-car', 'reserved', now(), now())"
        )
        cancelling = asyncio.create_task(store.cancel("trip", "car"))
        async with asyncio.timeout(10):
            while not disconnect_all(database, "wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
            with pytest.raises(RecordUnavailable, match=UNAVAILABLE):
                await cancelling
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "reserved")]
    await store.cancel("trip", "car")
    assert await store.all_reservations() == [Reservation("trip", "car", "a-car", "cancelled")]


@pytest.fixture
def database(postgres: str, database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of another client to the PostgreSQL database of the test."""
    name = sa.make_url(database_url).database
    with psycopg.connect(postgres, dbname=name, autocommit=True) as connection:
        yield connection


def disconnect_all(database: psycopg.Connection, which: LiteralString = "true") -> int:
    """Drop every other connection to the database and return how many there were."""
    found = database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    )
    return found.rowcount


async def in_processes(
    processes: ProcessPoolExecutor, job: Callable[[str], None], database_url: str
) -> None:
    """Run the same job in four processes at the same time."""
    loop = asyncio.get_running_loop()
    jobs = [loop.run_in_executor(processes, job, database_url) for _ in range(4)]
    await asyncio.gather(*jobs)


def rows(database_url: str) -> list[tuple[object, ...]]:
    """Return every row with its times, by a connection of its own."""
    with engine(database_url).connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(reservations.reservations))]


def engine(database_url: str) -> sa.Engine:
    """Return a way to the database that keeps no connections."""
    return sa.create_engine(database_url, poolclass=sa.NullPool)
