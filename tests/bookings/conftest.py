"""What the tests of the bookings have in common."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from bookings import Bookings, waiting
from record import Record
from tests.bookings.requests import leave_nothing_open
from tests.conftest import IMPATIENT


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the waits ask often: the record, and whether the client has gone."""
    monkeypatch.setattr(waiting, "RECORD_INTERVAL", 0.05)
    monkeypatch.setattr(waiting, "GONE_INTERVAL", 0.05)


@pytest.fixture
async def asked(client: Client, record: Record) -> AsyncIterator[Bookings]:
    """The bookings, of which none is left open in Temporal."""
    yield Bookings(client, record, IMPATIENT)
    await leave_nothing_open(client, record)
