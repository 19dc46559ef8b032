"""What the tests of the audit have in common."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

import audit.looking
import audit.open_trips
from audit import Auditor
from record import Record
from tests.audit.auditing import auditing
from tests.bookings.conftest import asked as asked


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
