"""An audit shows how far it is in a terminal, and tells nothing of it in a pipe."""

import asyncio
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from record import Record
from tests.bookings.requests import planted
from tests.test_progress import said


@pytest.mark.parametrize("terminal", [True, False])
async def test_an_audit_of_every_trip(
    environment: WorkflowEnvironment, tmp_path: Path, terminal: bool
) -> None:
    url = f"sqlite:///{tmp_path}/reservations.db"
    async with Record.open(url) as record:
        for _ in range(3):
            await planted(record)
    address = environment.client.service_client.config.target_host
    settings = {"DATABASE_URL": url, "TEMPORAL_ADDRESS": address}
    told = await asyncio.to_thread(said, ["audit", "--all"], settings, terminal=terminal)
    done = "3 trips compared, 0 differences."
    assert "Looked at: 100%" in told if terminal else told == f"{done}\n"
