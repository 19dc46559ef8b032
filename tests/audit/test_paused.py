"""A trip that an operator has paused, as the audit sees it."""

import datetime as dt

import pytest
from temporalio.client import Client

import audit.open_trips
from bookings import Bookings
from tests.audit.auditing import auditing, said_of
from tests.bookings.requests import DESK, ended, half_way
from tests.bookings.test_paused import pause, unpause
from tests.faults import FaultyRecord, Gate


async def test_a_paused_trip_is_open_to_the_audit(
    asked: Bookings,
    client: Client,
    faults: FaultyRecord,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit.open_trips, "SETTLED", dt.timedelta(0))
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    await pause(client, user_id)
    async with auditing(client, faults) as auditor:
        assert await said_of(auditor, user_id) == []
    assert "nothing can be made of trip" not in caplog.text
    assert (await asked.look_up(user_id, DESK)).status == "running"
    await unpause(client, user_id)
    await gate.open()
    assert (await ended(asked, user_id)).status == "booked"
