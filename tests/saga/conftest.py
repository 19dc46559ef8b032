"""The fixtures of the saga's tests."""

import pytest
from temporalio.client import Client

from record import Record
from suppliers import tries
from tests.faults import FaultyRecord
from tests.saga.stage import Stage, cut_off
from tests.workers import work_with


@pytest.fixture
async def stage(client: Client, faults: FaultyRecord) -> Stage:
    """A stage with a worker and no faults."""
    return Stage(client, faults)


@pytest.fixture
async def empty_stage(client: Client, record: Record) -> Stage:
    """A stage whose workers a test starts."""
    faulty = FaultyRecord(record)
    work_with(faulty)
    return Stage(client, faulty)


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tries that take their time be lost, though they go on: their worker is cut off."""
    monkeypatch.setattr(tries, "_beat", cut_off)
