"""The record over each kind of database, and others who use the same one."""

import multiprocessing
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack

import psycopg
import pytest
import sqlalchemy as sa

from record import Record
from record import database as limits
from tests.faults import DEADLINE
from tests.record import jobs


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    """The record over a database of its own."""
    async with Record.open(database_url) as opened:
        # Its connections are there, too, when the test begins.
        await opened.database.prepare()
        yield opened


@pytest.fixture
async def pair(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Record, Record]]:
    """Two records with connections of their own over one database, which wait for each other."""
    monkeypatch.setattr(limits, "LOCK_LIMIT", DEADLINE)
    monkeypatch.setattr(limits, "CALL_LIMIT", DEADLINE)
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Record.open(database_url)) for _ in range(2)
        ]
        await first.database.prepare()
        yield first, second


@pytest.fixture(scope="package")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Four processes that share nothing with this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, spawn, initializer=jobs.wait_for_each_other) as pool:
        yield pool


@pytest.fixture
def database(postgres: str, database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of another client to the PostgreSQL database of the test."""
    name = sa.make_url(database_url).database
    with psycopg.connect(postgres, dbname=name, autocommit=True) as connection:
        yield connection
