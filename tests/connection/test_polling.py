"""A worker polls when Temporal says so of it, and not of another."""

import datetime as dt

import pytest
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from connection import lazy_client, not_polling, polling
from record import Record
from tests.connection.stub_server import CONNECTED, Answer, stub_server
from tests.trips import eventually
from tests.workers import running_worker

IDLE = "The worker does not poll the task queue saga-task-queue"

ALIVE, DEAD = 60, 120


def poller(identity: str, seconds_ago: int) -> PollerInfo:
    info = PollerInfo(identity=identity)
    info.last_access_time.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_ago))
    return info


@pytest.mark.parametrize(
    ("pollers", "obstacle"),
    [
        ([], IDLE),
        ([("another", ALIVE)], IDLE),
        ([("own", DEAD), ("another", ALIVE)], IDLE),
        ([("own", ALIVE)], None),
        ([("another", DEAD), ("own", DEAD), ("own", ALIVE)], None),
    ],
    ids=str,
)
async def test_only_a_recent_poll_of_its_own_counts(
    pollers: list[tuple[str, int]], obstacle: str | None
) -> None:
    own = (await lazy_client({"target_host": "localhost:1"})).identity
    described = DescribeTaskQueueResponse(
        pollers=[poller(own if whose == "own" else whose, age) for whose, age in pollers]
    )
    async with stub_server([CONNECTED, Answer(described.SerializeToString())]) as address:
        assert await not_polling(await lazy_client({"target_host": address})) == obstacle


async def test_a_temporal_that_cannot_be_asked_is_an_obstacle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polling, "RPC_TIMEOUT", dt.timedelta(seconds=0.5))
    async with stub_server([CONNECTED, Answer(never=True)]) as address:
        obstacle = await not_polling(await lazy_client({"target_host": address}))
    assert obstacle is not None
    assert obstacle.startswith("Temporal cannot be asked: ")
    assert RPCStatusCode[obstacle.rpartition(" ")[2]]


async def test_a_real_worker_polls(client: Client, record: Record) -> None:
    async def polls() -> bool:
        return await not_polling(client) is None

    async with running_worker(client, record):
        assert await eventually(polls)
