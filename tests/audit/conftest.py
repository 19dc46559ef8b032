"""What the tests of the audit have in common."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from temporalio.client import Client

import audit.looking
import audit.open_trips
from audit import Auditor
from record import Record
from settings import Settings
from shared import KINDS
from suppliers import compose
from tests.audit.auditing import auditing, book_at
from tests.bookings.conftest import asked as asked
from tests.simulator.simulated import Simulator

Book = Callable[..., Awaitable[str]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit what is a moment old, and look again at once."""
    monkeypatch.setattr(audit.open_trips, "SETTLED", dt.timedelta(0))
    monkeypatch.setattr(audit.open_trips, "ON_ITS_WAY", dt.timedelta(0))
    monkeypatch.setattr(audit.looking, "PAUSE", 0.01)


@pytest.fixture
async def auditor(client: Client, record: Record) -> AsyncIterator[Auditor]:
    """An auditor, beside embedded suppliers."""
    async with auditing(client, record) as composed:
        yield composed


@pytest.fixture
async def suppliers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    """The simulated suppliers of every kind, which the settings lead to."""
    simulator = Simulator(tmp_path / "suppliers.db", slow_seconds=0.0, seed=1)
    await simulator.start()
    for kind in KINDS:
        url = str(simulator.server.make_url(f"/{kind}s"))
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_URL", url)
    try:
        yield simulator
    finally:
        await simulator.stop()


@pytest.fixture
async def at_suppliers(
    client: Client, record: Record, suppliers: Simulator
) -> AsyncIterator[Auditor]:
    """An auditor beside the simulated suppliers."""
    async with auditing(client, record) as auditor:
        yield auditor


@pytest.fixture
async def book(record: Record, suppliers: Simulator) -> AsyncIterator[Book]:
    """What books a trip at the simulated suppliers, and returns its id."""
    composed = compose(record, Settings())
    yield partial(book_at, composed.desks, record)
    await composed.close()
