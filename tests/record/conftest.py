"""The record over each kind of database, and others who use the same one."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from record import Record
from record import database as limits
from record.tables import metadata
from tests.conftest import new_database
from tests.faults import DEADLINE
from tests.record.databases import transaction, url_of

Pair = tuple[Record, Record]


@pytest.fixture(scope="package")
async def sqlite_pair(
    prepared_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    """Two records over one file that the tests of this room share."""
    url = f"sqlite:///{shutil.copy(prepared_file, tmp_path_factory.mktemp('shared'))}"
    async with Record.open(url) as first, Record.open(url) as second:
        yield first, second


@pytest.fixture(scope="package")
async def postgresql_pair(postgres: str, prepared_database: str) -> AsyncIterator[Pair]:
    """The like in PostgreSQL."""
    with new_database(postgres, prepared_database) as url:
        async with Record.open(url) as first, Record.open(url) as second:
            yield first, second


@pytest.fixture
def record(database_kind: str, request: pytest.FixtureRequest) -> Record:
    """The record, empty. Who spoils its database asks for `database_url` and opens another."""
    shared: Record = request.getfixturevalue(f"{database_kind}_pair")[0]
    with transaction(shared) as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
    return shared


@pytest.fixture
def pair(
    record: Record,
    database_kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Pair:
    """Two records with connections of their own over one database, which wait for each other."""
    monkeypatch.setattr(limits, "LOCK_LIMIT", DEADLINE)
    monkeypatch.setattr(limits, "CALL_LIMIT", DEADLINE)
    both: Pair = request.getfixturevalue(f"{database_kind}_pair")
    return both


@pytest.fixture
def database(postgres: str, record: Record) -> Iterator[psycopg.Connection]:
    """A connection of another client to the PostgreSQL database of the record."""
    name = sa.make_url(url_of(record)).database
    with psycopg.connect(postgres, dbname=name, autocommit=True) as connection:
        yield connection
