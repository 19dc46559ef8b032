"""How a database gets the record's schema, and which others the present version works on."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from record import Record, RecordMisconfigured, RecordUnavailable, schema
from record import __main__ as make_migrate
from record.tables import metadata, trips
from shared import KINDS
from tests.processes import DEADLINE, ROOT, bare_environment
from tests.record.databases import (
    at,
    back_to,
    execute,
    head,
    make_newer,
    on_postgresql,
    on_sqlite,
    revision_of,
    rows,
    transaction,
)
from tests.record.trips import accepted, news, trip

OUTDATED = r"\AThe record's schema is older than this version: run `make migrate`\Z"

OWN, FORMER = (
    sa.table(name, sa.column("version_num"))
    for name in (schema.VERSION_TABLE, schema.FORMER_VERSION_TABLE)
)


@pytest.fixture
def database_url(brand_new_url: str) -> str:
    """A database that nobody has prepared: how it gets its schema is what is tested here."""
    return brand_new_url


def tables_in(database_url: str) -> dict[str, dict[str, bool]]:
    """Return the columns of each table, and whether each may be null."""
    with transaction(database_url) as connection:
        inspector = sa.inspect(connection)
        return {
            table: {column["name"]: column["nullable"] for column in inspector.get_columns(table)}
            for table in inspector.get_table_names()
        }


async def migrate(database_url: str) -> None:
    async with Record.open(database_url) as record:
        await record.database.migrate()


# A brand-new database


def test_a_record_that_nobody_asks_makes_no_database(tmp_path: Path) -> None:
    async def open_and_close() -> None:
        async with Record.open(f"sqlite:///{tmp_path}/new.db"):
            pass

    asyncio.run(open_and_close())
    assert list(tmp_path.iterdir()) == []


async def test_many_first_calls_and_migrations_at_once_make_one_schema(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("record.database.LOCK_LIMIT", DEADLINE)
    monkeypatch.setattr("record.database.CALL_LIMIT", DEADLINE)
    async with AsyncExitStack() as stack:
        records = [await stack.enter_async_context(Record.open(database_url)) for _ in range(6)]
        calls = [record.trips.accept(accepted()) for record in records for _ in range(3)]
        migrating = [asyncio.create_task(migrate(database_url)) for _ in range(2)]
        answers = await asyncio.gather(*calls)
        await asyncio.gather(*migrating)
    assert [new for _, new in answers].count(True) == 1
    assert revision_of(database_url) == head()


@on_postgresql
async def test_a_first_call_waits_for_another_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("record.database.LOCK_LIMIT", DEADLINE)
    monkeypatch.setattr("record.database.CALL_LIMIT", DEADLINE)
    async with Record.open(database_url) as record:
        with transaction(database_url) as connection:
            schema._lock(connection)
            calling = asyncio.create_task(record.database.prepare())
            await asyncio.wait({calling}, timeout=0.3)
            assert not calling.done()
            command.upgrade(schema._config(connection), "head")
        await calling


async def test_the_schema_has_the_columns_that_the_queries_know(database_url: str) -> None:
    await migrate(database_url)
    found = tables_in(database_url)
    del found[schema.VERSION_TABLE]
    # The version before still reads the one, and writes no other.
    del found["trips"]["steps"]
    found["trips"]["owner"] = False
    assert found == {
        table.name: {column.name: column.nullable for column in table.columns}
        for table in metadata.sorted_tables
    }


# A schema that is older


async def test_an_older_schema_is_waited_for_until_somebody_migrates_it(database_url: str) -> None:
    at(database_url, "0002")
    async with Record.open(database_url) as record:
        with pytest.raises(RecordUnavailable, match=OUTDATED):
            await record.database.prepare()
        with pytest.raises(RecordUnavailable, match=OUTDATED):
            await record.trips.accept(accepted())
        # Nobody but `make migrate` has changed it.
        assert revision_of(database_url) == "0002"
        await migrate(database_url)
        await record.trips.accept(accepted())


async def test_a_migration_waits_for_another_one_however_long_it_takes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("record.database.BUSY_LIMIT", 0.05)
    monkeypatch.setattr("record.database.CALL_LIMIT", 0.05)
    monkeypatch.setattr(schema, "LOCK_LIMIT", 0.05)
    at(database_url, "0002")
    with transaction(database_url) as connection:
        schema._lock(connection)
        migrating = asyncio.create_task(migrate(database_url))
        # All the limits of other calls are over, and it waits still.
        await asyncio.wait({migrating}, timeout=0.5)
        assert not migrating.done()
        schema._take_over(connection)
        command.upgrade(schema._config(connection), "head")
    async with asyncio.timeout(DEADLINE):
        await migrating
    assert revision_of(database_url) == head()


@on_postgresql
async def test_a_migration_makes_nobody_wait_for_a_forgotten_transaction(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(schema, "LOCK_LIMIT", 0.05)
    monkeypatch.setattr(schema, "LOCK_PAUSE", 0.05)
    at(database_url, "0002")
    with transaction(database_url) as forgotten:
        forgotten.execute(sa.text("SELECT * FROM reservations"))
        migrating = asyncio.create_task(migrate(database_url))
        async with asyncio.timeout(DEADLINE):
            while "Waiting: another transaction has locked" not in caplog.text:
                await asyncio.sleep(0.01)
        # Who reserves with the version before it does not stand behind the migration for long.
        execute(
            database_url,
            "INSERT INTO reservations VALUES ('trip', 'car', 'x', 'reserved', now(), now())",
        )
        assert not migrating.done()
    async with asyncio.timeout(DEADLINE):
        await migrating
    assert [row[0] for row in rows(database_url, trips)] == ["trip"]


# A database that others use, too


@pytest.mark.parametrize("noted", ["5f2c8d1e9a37", "0003", "0007"])
async def test_another_applications_revision_is_not_taken_for_the_records(
    database_url: str, noted: str
) -> None:
    # Alembic allows several heads.
    others = ["CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"]
    others += [f"INSERT INTO alembic_version VALUES ('{noted}'), ('another-head')"]
    execute(database_url, *others)
    await migrate(database_url)
    await _every_call_works(database_url)
    assert revision_of(database_url) == head()
    assert {row[0] for row in rows(database_url, FORMER)} == {noted, "another-head"}


async def test_another_applications_tables_are_left_alone(database_url: str) -> None:
    execute(
        database_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('0007')",
        "CREATE TABLE reservations (id INTEGER)",
    )
    before = tables_in(database_url)
    async with Record.open(database_url) as record:
        for call in (record.database.prepare, record.database.migrate):
            with pytest.raises(RecordMisconfigured, match="other tables with the names reservatio"):
                await call()
    assert tables_in(database_url) == before


async def test_a_schema_without_its_tables_is_not_up_to_date(database_url: str) -> None:
    await migrate(database_url)
    execute(database_url, "DROP TABLE audits", "DROP TABLE unaudited")
    async with Record.open(database_url) as record:
        for call in (record.database.prepare, record.database.migrate):
            with pytest.raises(RecordMisconfigured, match="has lost the tables audits, unaudited"):
                await call()


async def test_a_database_of_version_3_0_is_taken_over_by_its_next_migration(
    database_url: str,
) -> None:
    at(database_url, "head")
    async with Record.open(database_url) as record:
        await record.database.prepare()
    assert schema.VERSION_TABLE not in tables_in(database_url)
    await asyncio.gather(*(migrate(database_url) for _ in range(3)))
    await _every_call_works(database_url)
    # Version 3.0 finds its own revision as before.
    assert rows(database_url, FORMER) == rows(database_url, OWN) == [(head(),)]


# A schema that is newer


async def test_the_present_version_works_on_the_next_versions_schema(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_newer(database_url, monkeypatch, tmp_path)
    await _every_call_works(database_url)
    # Nor does its own `make migrate` change anything.
    await migrate(database_url)
    assert revision_of(database_url) == "next"


async def test_who_works_goes_on_while_the_schema_is_migrated_to_the_next_one(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Record.open(database_url) as record:
        # So often that the driver has prepared the statements for good.
        for number in range(8):
            await record.reservations.reserve(trip(f"before-{number}"), "car")
            await record.trips.page(5)
            await record.reservations.of(f"before-{number}")
        make_newer(database_url, monkeypatch, tmp_path)
        for number in range(8):
            await record.reservations.reserve(trip(f"after-{number}"), "car")
            assert await record.reservations.of(f"after-{number}")
        assert len(await record.trips.page(100)) == 16


async def _every_call_works(database_url: str) -> None:
    async with Record.open(database_url) as record:
        await record.database.prepare()
        row, new = await record.trips.accept(accepted())
        assert new
        for kind in KINDS:
            await record.reservations.count_failure(trip(), kind, "No answer", final=False)
            await record.reservations.reserve(trip(), kind)
        await record.trips.tell(trip(), news())
        await record.trips.begin_cancellation("trip")
        for kind in KINDS:
            await record.reservations.count_undo_failure(trip(), kind, "No answer")
            await record.reservations.give_up_undo(trip(), kind, "No answer")
            await record.reservations.cancel(trip(), kind)
        await record.trips.tell(trip(), news("cancelled", after=5))
        assert [row.status for row in await record.trips.page(5)] == ["cancelled"]
        await record.trips.accept(accepted("another", first_run_id="its-run"))
        await record.trips.found(accepted("another"), "needs_attention", "Stopped")
        assert {row.state for row in await record.reservations.of(row.trip_id)} == {"cancelled"}


# Back


async def test_every_migration_can_be_taken_back(database_url: str) -> None:
    await migrate(database_url)
    back_to(database_url, "base")
    assert list(tables_in(database_url)) == [schema.VERSION_TABLE]
    await migrate(database_url)
    await _every_call_works(database_url)


# make migrate


@on_sqlite
async def test_the_projects_folder_may_have_a_percent_sign_in_its_name(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "100%(here)s" / "migrations"
    shutil.copytree(schema.MIGRATIONS, copy)
    monkeypatch.setattr(schema, "MIGRATIONS", copy)
    await _every_call_works(database_url)


def test_make_migrate_says_in_one_line_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_migrate, "stop_at_once_when_told", lambda: None)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/missing/x.db")
    with pytest.raises(SystemExit, match=r"\AThe record is unavailable: .*unable to open"):
        make_migrate.main()


def test_make_migrate_can_be_stopped_while_it_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        url = f"postgresql+psycopg://trips@127.0.0.1:{silent.getsockname()[1]}/trips"
        environment = bare_environment() | {"DATABASE_URL": url}
        process = subprocess.Popen([sys.executable, "-m", "record"], cwd=ROOT, env=environment)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 128 + signal.SIGINT
        connection.close()
