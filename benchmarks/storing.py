"""What a trip leaves in the record, and how many statements it takes to write that.

The trips go through the record's own functions, as API and worker call them for a booked trip.
"""

import asyncio
import datetime as dt
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from record import Record, RecordedTrip
from shared import KINDS, BookVacationInput, Execution, TripNews, new_user_id
from tests.processes import Database, database_url, postgres

AT_ONCE = 10

ITEMS = {str(kind): f"valid-{kind}-id" for kind in KINDS}
WANTED: dict[str, Any] = {f"book_{kind}_id": item for kind, item in ITEMS.items()}


def kept(trips: int) -> list[str]:
    """Put so many booked trips into a record of either kind, and tell what they take there."""
    facts = []
    databases: tuple[Database, ...] = ("sqlite", "postgresql")
    for database in databases:
        with _database(database) as url:
            asked = asyncio.run(_statements(url))
            empty, logged = _sizes(url), _log(url)
            began = time.perf_counter()
            asyncio.run(_store(url, trips))
            rate = trips / (time.perf_counter() - began)
            log = (_log(url) - logged) / trips
            sizes = [_sizes(url), _sizes(url, packed=True)]
        facts.append(
            f"{database}: a booked trip is {asked['begin']} transactions with {asked['statement']} "
            f"statements" + (f", {log:.0f} bytes of log" if log else "") + f"; {rate:.0f} trips a "
            f"second with {AT_ONCE} at once"
        )
        for name, size in empty.items():
            written, packed = ((after[name] - size) / trips for after in sizes)
            facts.append(f"  {name}: {written:.0f} bytes of each of {trips}, {packed:.0f} packed")
    return facts


async def _store(url: str, trips: int) -> None:
    left = iter(range(trips))
    async with Record.open(url) as record:

        async def store() -> None:
            for _ in left:
                await book(record)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(store())


async def book(record: Record) -> None:
    """Ask of the record what API and worker ask of it for a trip that is booked."""
    trip_id, now = new_user_id("Bench Mark"), dt.datetime.now(dt.UTC)
    request = {"name": "Bench Mark", "attempts": 5} | ITEMS
    await record.trips.accept(RecordedTrip(trip_id, "anonymous", request, "running", trip_id, now))
    execution = Execution(trip_id, str(uuid.uuid4()))
    trip = BookVacationInput(5, trip_id, **WANTED, execution=execution)
    for kind in KINDS:
        await record.reservations.reserve(trip, kind, 0.02)
    await record.trips.tell(trip, TripNews("booked", None, dt.datetime.now(dt.UTC), now))
    await record.trips.by_id(trip_id)


async def _statements(url: str) -> Counter[str]:
    """Count the transactions and the statements of a booked trip."""
    async with Record.open(url) as record:
        await book(record)  # The first one looks at the schema.
        with counting() as found:
            await book(record)
    return found


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count what is asked of every database in this process while the block runs."""
    found: Counter[str] = Counter()

    def begins(*_: object) -> None:
        found["begin"] += 1

    def asks(*_: object) -> None:
        found["statement"] += 1

    # SQLite's own BEGIN is a statement that the engine sends.
    hooks = {"begin": begins, "before_execute": asks}
    for name, hook in hooks.items():
        sa.event.listen(sa.Engine, name, hook)
    try:
        yield found
    finally:
        for name, hook in hooks.items():
            sa.event.remove(sa.Engine, name, hook)


@contextmanager
def _database(database: Database) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="trip-benchmark-") as name:
        folder = Path(name)
        server = postgres(folder) if database == "postgresql" else None
        url = database_url(folder, server)
        if server is None:
            yield url
            return
        server.start()
        try:
            server.wait_for_output("ready to accept connections")
            yield url
        finally:
            server.kill()


def _sizes(url: str, *, packed: bool = False) -> dict[str, int]:
    """Return how many bytes the record takes, by what takes them; at the least, if `packed`."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as sql:

        def ask(query: str) -> int:
            return int(sql.exec_driver_sql(query).scalar_one())

        if engine.dialect.name == "sqlite":
            if packed:
                sql.exec_driver_sql("VACUUM")
            sql.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes = {"in all": ask("PRAGMA page_count") * ask("PRAGMA page_size")}
        else:
            if packed:
                sql.exec_driver_sql("VACUUM FULL")
            sizes = {
                name.format(table): ask(f"SELECT {size}('{table}')")
                for table in ("trips", "reservations")
                for name, size in (("{}", "pg_table_size"), ("indexes of {}", "pg_indexes_size"))
            }
            sizes["in all"] = sum(sizes.values())
    engine.dispose()
    return sizes


def _log(url: str) -> int:
    """Return how many bytes PostgreSQL has written to its log; 0 of SQLite, which keeps none."""
    engine = sa.create_engine(url)
    with engine.connect() as sql:
        if engine.dialect.name == "sqlite":
            return 0
        return int(sql.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").scalar_one())
