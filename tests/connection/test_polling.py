"""Which workers poll for trips, as Temporal says: of the right version, and the one that asks."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from connection import Polls, lazy_client, polling
from connection.polling import POLLER_AGE
from record import Record
from tests.connection.stub_server import CONNECTED, Answer, stub_server
from tests.trips import eventually
from tests.workers import running_worker

ALIVE, DEAD = True, False
"""Whether a worker has polled again since it was asked about first, long ago."""

V1, V2 = (WorkerDeploymentVersion(deployment_name="trips", build_id=build) for build in "12")
UNVERSIONED = WorkerDeploymentVersion()

YEARS_AHEAD = dt.datetime(2099, 12, 31, tzinfo=dt.UTC)


def poller(
    polled: int, version: WorkerDeploymentVersion = UNVERSIONED, identity: str = "a worker"
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
    # Temporal's clock is its own.
    info.last_access_time.FromDatetime(YEARS_AHEAD + dt.timedelta(seconds=polled))
    return info


def ramping(percentage: float) -> TaskQueueVersioningInfo:
    return TaskQueueVersioningInfo(
        current_deployment_version=V1,
        ramping_deployment_version=V2,
        ramping_version_percentage=percentage,
    )


@asynccontextmanager
async def asking(
    *answers: list[PollerInfo], routing: TaskQueueVersioningInfo | None = None
) -> AsyncIterator[tuple[Polls, Callable[[float], None]]]:
    """Polls as a Temporal lists them, in one answer after the other, and what moves the clock."""
    described = [
        DescribeTaskQueueResponse(pollers=each, versioning_info=routing) for each in answers
    ]
    script = [CONNECTED, *(Answer(each.SerializeToString()) for each in described)]
    now = 0.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    async with stub_server(script) as address:
        yield Polls(await lazy_client({"target_host": address}), lambda: now), wait


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
    pollers: list[tuple[bool, WorkerDeploymentVersion]],
    routing: TaskQueueVersioningInfo | None,
    obstacle: str | None,
) -> None:
    before = [poller(place, version) for place, (_, version) in enumerate(pollers)]
    after = [poller(place + 60 * alive, version) for place, (alive, version) in enumerate(pollers)]
    async with asking(before, after, routing=routing) as (polls, wait):
        await polls.nobody_takes_trips()
        wait(POLLER_AGE)
        assert await polls.nobody_takes_trips() == obstacle


async def test_a_poll_counts_for_a_while_whatever_temporals_clock_says() -> None:
    async with asking([poller(0)], [poller(0)], [poller(1)], [poller(1)]) as (polls, wait):
        told = []
        for seconds in (0, POLLER_AGE - 1, 1, POLLER_AGE):
            wait(seconds)
            told.append(await polls.nobody_takes_trips())
    assert told == [None, None, None, IDLE]


@pytest.mark.parametrize(
    ("own", "polls"), [([], False), ([DEAD], False), ([ALIVE], True), ([DEAD, ALIVE], True)]
)
async def test_only_a_recent_poll_of_its_own_counts(own: list[bool], polls: bool) -> None:
    identity = (await lazy_client({"target_host": "localhost:1"})).identity

    def listed(passed: int) -> list[PollerInfo]:
        mine = [
            poller(place + passed * alive, identity=identity) for place, alive in enumerate(own)
        ]
        return [poller(passed, identity="another"), *mine]

    async with asking(listed(0), listed(60)) as (asked, wait):
        await asked.not_polling()
        wait(POLLER_AGE)
        obstacle = await asked.not_polling()
    idle = "The worker does not poll the task queue saga-task-queue"
    assert obstacle == (None if polls else idle)


async def test_a_temporal_that_cannot_be_asked_is_an_obstacle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polling, "RPC_TIMEOUT", dt.timedelta(seconds=0.5))
    async with stub_server([CONNECTED, Answer(never=True)]) as address:
        obstacle = await Polls(await lazy_client({"target_host": address})).not_polling()
    assert obstacle is not None
    assert obstacle.startswith("Temporal cannot be asked: ")
    assert RPCStatusCode[obstacle.rpartition(" ")[2]]


async def test_a_real_worker_polls(client: Client, record: Record) -> None:
    polls = Polls(client)

    async def polled() -> bool:
        return await polls.not_polling() is None

    async with running_worker(client, record):
        assert await eventually(polled)
