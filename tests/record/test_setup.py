"""Databases, and ways to them, that somebody has set up in a manner of their own."""

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from record import Record, RecordMisconfigured
from tests.record.databases import execute, on_postgresql
from tests.record.test_schema import _every_call_works, migrate

RUNTIME_RIGHTS = (
    "GRANT SELECT, INSERT, UPDATE, DELETE ON reservations, trips, audits, unaudited TO {role}",
    "GRANT SELECT ON trip_booking_version TO {role}",
)
"""What `docs/databases.md` says that API and worker need, once the schema is there."""


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
async def test_the_rights_that_are_documented_suffice(database_url: str, role: str) -> None:
    url = as_role(database_url, role)
    execute(database_url, f"GRANT CREATE ON SCHEMA public TO {role}")
    await migrate(url)
    await _every_call_works(url)


@on_postgresql
async def test_a_role_works_without_being_the_one_that_migrates(
    database_url: str, role: str
) -> None:
    await migrate(database_url)
    execute(database_url, *(right.format(role=role) for right in RUNTIME_RIGHTS))
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
    execute(database_url, *(right.format(role=role) for right in RUNTIME_RIGHTS))
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
