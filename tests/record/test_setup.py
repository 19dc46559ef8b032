"""Databases, and ways to them, that somebody has set up in a manner of their own."""

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from record import Record, RecordMisconfigured, schema
from record.errors import is_set_up_wrongly
from record.tables import UtcTime
from tests.processes import ROOT
from tests.record.databases import execute, on_postgresql, transaction
from tests.record.test_schema import _every_call_works, migrate

RUNTIME_RIGHTS = re.findall(
    r"^GRANT .* TO trips_service;$", (ROOT / "docs" / "databases.md").read_text(), re.MULTILINE
)
"""What API and worker need once the schema is there, as it is documented."""


@pytest.fixture
def database_url(brand_new_url: str) -> str:
    """A database that nobody has prepared."""
    return brand_new_url


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role without any right."""
    name = f"role_{uuid.uuid4().hex}"
    execute(database_url, f"CREATE ROLE {name} LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield name
    execute(database_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def as_role(database_url: str, role: str) -> str:
    return sa.make_url(database_url).set(username=role).render_as_string(hide_password=False)


# Rights


@on_postgresql
async def test_a_role_that_may_not_create_tables_is_told_so(database_url: str, role: str) -> None:
    async with Record.open(as_role(database_url, role)) as record:
        for call in (record.database.prepare, record.database.migrate, record.database.check_setup):
            with pytest.raises(RecordMisconfigured) as raised:
                await call()
            assert raised.value.explained() == (
                "The record's database is not set up for it: permission denied for schema public"
            )


@on_postgresql
@pytest.mark.parametrize(
    "rights",
    [
        ["GRANT CREATE ON SCHEMA public TO {role}"],
        [
            "CREATE TABLE trips (of_another_application INTEGER)",
            "CREATE SCHEMA own AUTHORIZATION {role}",
            "ALTER ROLE {role} SET search_path = own",
        ],
    ],
    ids=["in public", "in a schema of its own"],
)
async def test_the_rights_that_are_documented_suffice(
    database_url: str, role: str, rights: list[str]
) -> None:
    execute(database_url, *(right.format(role=role) for right in rights))
    await migrate(as_role(database_url, role))
    await _every_call_works(as_role(database_url, role))


@on_postgresql
async def test_a_role_works_without_being_the_one_that_migrates(
    database_url: str, role: str
) -> None:
    await migrate(database_url)
    execute(database_url, *(right.replace("trips_service", role) for right in RUNTIME_RIGHTS))
    await _every_call_works(as_role(database_url, role))


@on_postgresql
@pytest.mark.parametrize(
    ("revoked", "told"),
    [
        ("INSERT ON audits", "The record's role in the database lacks INSERT on audits"),
        ("SELECT ON trip_booking_version", "permission denied for table trip_booking_version"),
        ("USAGE ON SCHEMA public", "no schema has been selected to create in"),
    ],
)
async def test_a_right_that_is_missing_is_named(
    database_url: str, role: str, revoked: str, told: str
) -> None:
    await migrate(database_url)
    execute(database_url, *(right.replace("trips_service", role) for right in RUNTIME_RIGHTS))
    execute(database_url, f"REVOKE {revoked} FROM {role}, PUBLIC")
    async with Record.open(as_role(database_url, role)) as record:
        with pytest.raises(RecordMisconfigured) as raised:
            await record.database.prepare()
    assert told in raised.value.explained()


@on_postgresql
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("&user=nobody", 'role "nobody" does not exist'),
        ("&dbname=nothing", 'database "nothing" does not exist'),
        ("&sslmode=yes", 'invalid sslmode value: "yes"'),
        ("&connect_timeout=soon", "bad value for connect_timeout: 'soon'"),
        ("&pgbouncer=true", 'invalid connection option "pgbouncer"'),
    ],
)
async def test_a_mistake_in_the_url_is_not_called_an_outage(
    database_url: str, change: str, told: str
) -> None:
    async with Record.open(database_url + change) as record:
        for call in (record.database.prepare, record.database.migrate):
            with pytest.raises(RecordMisconfigured) as raised:
                await call()
            assert told in raised.value.explained()
            assert "\n" not in raised.value.explained()
            assert str(raised.value) == "The record's database is not set up for it"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ('password authentication failed for user "trips"', True),
        ('no pg_hba.conf entry for host "10.0.0.1", user "trips", no encryption', True),
        ('pg_hba.conf rejects connection for host "10.0.0.1"', True),
        ('permission denied for database "trips"', True),
        ("no such database: trips", True),
        ("SASL authentication failed", True),
        ("sorry, too many clients already", False),
        ('too many connections for role "trips"', False),
        ("no more connections allowed (max_client_conn)", False),
        ("the database system is starting up", False),
        ("terminating connection due to administrator command", False),
    ],
)
def test_a_refused_connection_is_an_outage_unless_it_is_a_mistake(words: str, wrong: bool) -> None:
    failed = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  '
    assert is_set_up_wrongly(psycopg.OperationalError(failed + words)) is wrong


# Settings

SETTINGS = {
    "datestyle": "SQL, DMY",
    "timezone": "<+0330>-03:30",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "3s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "3s",
}

TIME = dt.datetime(1890, 6, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
VALUES = (TIME, 0.1 + 0.2, "Zoë 東京 C:\\x", "read committed")
SHOWN = sa.select(
    sa.literal(VALUES[0], UtcTime),
    sa.literal(VALUES[1], sa.Float),
    sa.literal(VALUES[2], sa.Text),
    sa.func.current_setting("transaction_isolation"),
)


def values_in(sql: sa.Connection) -> tuple[Any, ...]:
    """Return the values as the database gives them back, and the isolation of the transaction."""
    return tuple(sql.execute(SHOWN).one())


@on_postgresql
async def test_settings_of_a_database_change_nothing(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(database_url) as sql:
        for name, value in SETTINGS.items():
            database = sql.engine.url.database
            sql.execute(sa.text(f"ALTER DATABASE {database} SET {name} = '{value}'"))
    seen: list[tuple[Any, ...]] = []
    run_migrations = schema._run_migrations

    def look(sql: sa.Connection) -> None:
        limits = [name for name in SETTINGS if name.endswith("timeout")]
        assert {name: sql.scalar(sa.text(f"SHOW {name}")) for name in limits} == {
            **dict.fromkeys(limits, "0"),
            "lock_timeout": f"{schema.LOCK_LIMIT}s",
        }
        seen.append(values_in(sql))
        run_migrations(sql)

    monkeypatch.setattr(schema, "_run_migrations", look)
    await migrate(database_url)
    await _every_call_works(database_url)
    async with Record.open(database_url) as record:
        seen += [await record.database.read(values_in), await record.database.write(values_in)]
    assert seen == [VALUES] * 3
    assert caplog.text == ""


@on_postgresql
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_cannot_store_every_text_is_refused(
    database_url: str, postgres: str, encoding: str
) -> None:
    other = f"{sa.make_url(database_url).database}_other"
    create = f"CREATE DATABASE {other} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(create)
        try:
            async with Record.open(f"{database_url}&dbname={other}") as record:
                for call in (record.database.prepare, record.database.migrate):
                    with pytest.raises(RecordMisconfigured) as raised:
                        await call()
                    assert (
                        str(raised.value) == f"The database is encoded in {encoding}, not in UTF8"
                    )
        finally:
            server.execute(f"DROP DATABASE {other} WITH (FORCE)")
