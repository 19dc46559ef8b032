"""Ready is who can book now: a worker asks for work, and has done so lately."""

import asyncio
import datetime as dt

import pytest
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

import connection
from bookings import Bookings
from connection import lazy_client
from record import Record
from tests.conftest import IMPATIENT
from tests.connection.stub_server import CONNECTED, Answer, stub_server

# A poll lasts for a minute at the most, and the server lists a poller for some minutes more.
ALIVE, DEAD = 60, 120


def poller(seconds_ago: int) -> PollerInfo:
    info = PollerInfo(identity="a worker")
    info.last_access_time.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_ago))
    return info


@pytest.mark.parametrize(
    ("pollers", "ready"),
    [([], False), ([DEAD], False), ([ALIVE], True), ([DEAD, ALIVE], True), ([DEAD, DEAD], False)],
    ids=str,
)
async def test_only_a_worker_that_has_polled_lately_counts(
    record: Record, pollers: list[int], ready: bool
) -> None:
    described = DescribeTaskQueueResponse(pollers=[poller(age) for age in pollers])
    async with stub_server([CONNECTED, Answer(described.SerializeToString())]) as address:
        client = await lazy_client({"target_host": address})
        obstacle = await Bookings(client, record, IMPATIENT).check_ready()
    assert obstacle == (None if ready else "No worker is polling the task queue saga-task-queue")


async def test_a_server_that_says_nothing_keeps_nobody_waiting(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RPC_TIMEOUT", dt.timedelta(seconds=0.5))
    async with stub_server([CONNECTED, Answer(never=True)]) as address:
        asked = Bookings(await lazy_client({"target_host": address}), record, IMPATIENT)
        async with asyncio.timeout(10):
            assert await asked.check_ready() == "Temporal cannot be reached"
