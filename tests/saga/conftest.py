"""The fixtures of the saga's tests."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from record import Record
from suppliers import tries
from tests.faults import FaultyRecord
from tests.saga.shapes import compare_or_record
from tests.saga.stage import Stage, cut_off
from tests.workers import work_with


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shape(name): the test's trip has this recorded history")


@pytest.fixture
async def empty_stage(
    client: Client, record: Record, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    """A stage whose workers a test starts."""
    faulty = FaultyRecord(record)
    work_with(faulty)
    stage = Stage(client, faulty)
    yield stage
    if shape := request.node.get_closest_marker("shape"):
        parameters = getattr(request.node, "callspec", None)
        name = shape.args[0].format(**parameters.params if parameters else {})
        await compare_or_record(name, client, stage.workflows[-1])


@pytest.fixture
async def stage(empty_stage: Stage) -> AsyncIterator[Stage]:
    """A stage with a worker and no faults."""
    async with empty_stage.worker():
        yield empty_stage


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tries that take their time be lost, though they go on: their worker is cut off."""
    monkeypatch.setattr(tries, "_beat", cut_off)
