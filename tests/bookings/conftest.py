"""What the tests of the bookings have in common."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from bookings import Bookings, acting_workflow, record_watch
from record import Record
from tests.conftest import IMPATIENT


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the waits ask the record often."""
    monkeypatch.setattr(record_watch, "INTERVAL", 0.05)


@pytest.fixture
async def asked(client: Client, record: Record) -> AsyncIterator[Bookings]:
    """The bookings, of which none is left open in Temporal."""
    yield Bookings(client, record, IMPATIENT)
    for row in await record.trips.open_trips(dt.datetime.now(dt.UTC), "", 100):
        with contextlib.suppress(RPCError):
            await client.get_workflow_handle(acting_workflow(row)).terminate()
