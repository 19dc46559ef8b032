"""Which workers poll for trips, as Temporal says: of the right version, and the one that asks."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from connection import lazy_client, nobody_takes_trips, not_polling, polling
from record import Record
from tests.connection.stub_server import CONNECTED, Answer, stub_server
from tests.trips import eventually
from tests.workers import running_worker

ALIVE, DEAD = 60, 120
"""Seconds. A poll lasts for a minute at most. The server lists a poller for some minutes more."""

V1, V2 = (WorkerDeploymentVersion(deployment_name="trips", build_id=build) for build in "12")
UNVERSIONED = WorkerDeploymentVersion()


def poller(
    seconds_ago: int,
    version: WorkerDeploymentVersion = UNVERSIONED,
    identity: str = "a worker",
) -> PollerInfo:
    mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    # A worker without a version tells a build, too.
    if version == UNVERSIONED:
        mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_UNVERSIONED
    options = WorkerDeploymentOptions(
        deployment_name=version.deployment_name,
        build_id=version.build_id or "1",
        worker_versioning_mode=mode,
    )
    info = PollerInfo(identity=identity, deployment_options=options)
    info.last_access_time.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_ago))
    return info


def ramping(percentage: float) -> TaskQueueVersioningInfo:
    return TaskQueueVersioningInfo(
        current_deployment_version=V1,
        ramping_deployment_version=V2,
        ramping_version_percentage=percentage,
    )


@asynccontextmanager
async def asking(
    *pollers: PollerInfo, routing: TaskQueueVersioningInfo | None = None
) -> AsyncIterator[Client]:
    """A client of a Temporal that describes the task queue so."""
    described = DescribeTaskQueueResponse(pollers=pollers, versioning_info=routing)
    async with stub_server([CONNECTED, Answer(described.SerializeToString())]) as address:
        yield await lazy_client({"target_host": address})


IDLE = "No worker is polling the task queue saga-task-queue"
NOT_CURRENT = "No version of the worker is current; polling: trips 1"
NOT_POLLING = "No worker of the current version, trips 2, is polling"

NONE_CURRENT = TaskQueueVersioningInfo()
V2_CURRENT = TaskQueueVersioningInfo(current_deployment_version=V2)


@pytest.mark.parametrize(
    ("pollers", "routing", "obstacle"),
    [
        # Only a worker that has polled lately counts.
        ([], None, IDLE),
        ([(DEAD, UNVERSIONED), (DEAD, UNVERSIONED)], None, IDLE),
        ([(DEAD, UNVERSIONED), (ALIVE, UNVERSIONED)], None, None),
        # No version is current: trips go to workers that have none.
        ([(ALIVE, V1)], NONE_CURRENT, NOT_CURRENT),
        ([(ALIVE, V1), (ALIVE, UNVERSIONED)], NONE_CURRENT, None),
        ([(ALIVE, UNVERSIONED)], V2_CURRENT, NOT_POLLING),
        # A version that is drained, or not current yet, takes none up for the current one.
        ([(ALIVE, V1)], V2_CURRENT, NOT_POLLING),
        ([(ALIVE, V1), (ALIVE, V2)], V2_CURRENT, None),
        # While a further version is tried with some of the trips, the others decide.
        ([(ALIVE, V1)], ramping(40), None),
        ([(ALIVE, V1)], ramping(100), NOT_POLLING),
        ([(ALIVE, V2)], ramping(100), None),
    ],
)
async def test_only_a_live_worker_of_the_version_that_gets_new_trips_takes_them(
    pollers: list[tuple[int, WorkerDeploymentVersion]],
    routing: TaskQueueVersioningInfo | None,
    obstacle: str | None,
) -> None:
    async with asking(*(poller(*each) for each in pollers), routing=routing) as client:
        assert await nobody_takes_trips(client) == obstacle


@pytest.mark.parametrize(
    ("own", "polls"), [([], False), ([DEAD], False), ([ALIVE], True), ([DEAD, ALIVE], True)]
)
async def test_only_a_recent_poll_of_its_own_counts(own: list[int], polls: bool) -> None:
    identity = (await lazy_client({"target_host": "localhost:1"})).identity
    polled = [poller(age, identity=identity) for age in own]
    async with asking(poller(ALIVE, identity="another"), *polled) as client:
        obstacle = await not_polling(client)
    idle = "The worker does not poll the task queue saga-task-queue"
    assert obstacle == (None if polls else idle)


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
