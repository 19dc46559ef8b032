"""New trips are taken when a worker that may take them asks for work, and has done so lately."""

import datetime as dt

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

from connection import lazy_client, nobody_takes_trips
from tests.connection.stub_server import CONNECTED, Answer, stub_server

# A poll lasts for a minute at the most, and the server lists a poller for some minutes more.
ALIVE, DEAD = 60, 120


V1, V2 = (WorkerDeploymentVersion(deployment_name="trips", build_id=build) for build in "12")
UNVERSIONED = WorkerDeploymentVersion()


def poller(seconds_ago: int, version: WorkerDeploymentVersion = UNVERSIONED) -> PollerInfo:
    mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    # A worker that takes no part in it tells a build, too.
    if version == UNVERSIONED:
        mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_UNVERSIONED
    options = WorkerDeploymentOptions(
        deployment_name=version.deployment_name,
        build_id=version.build_id or "1",
        worker_versioning_mode=mode,
    )
    info = PollerInfo(identity="a worker", deployment_options=options)
    info.last_access_time.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_ago))
    return info


def ramping(percentage: float) -> TaskQueueVersioningInfo:
    return TaskQueueVersioningInfo(
        current_deployment_version=V1,
        ramping_deployment_version=V2,
        ramping_version_percentage=percentage,
    )


@pytest.mark.parametrize(
    ("pollers", "ready"),
    [([], False), ([DEAD], False), ([ALIVE], True), ([DEAD, ALIVE], True), ([DEAD, DEAD], False)],
    ids=str,
)
async def test_only_a_worker_that_has_polled_lately_counts(pollers: list[int], ready: bool) -> None:
    described = DescribeTaskQueueResponse(pollers=[poller(age) for age in pollers])
    async with stub_server([CONNECTED, Answer(described.SerializeToString())]) as address:
        client = await lazy_client({"target_host": address})
        obstacle = await nobody_takes_trips(client)
    assert obstacle == (None if ready else "No worker is polling the task queue saga-task-queue")


NOT_CURRENT = "No version of the worker is current; polling: trips 1"
NOT_POLLING = "No worker of the current version, trips 2, is polling"


@pytest.mark.parametrize(
    ("pollers", "routing", "obstacle"),
    [
        # No version is current: trips go to workers that have none.
        ([V1], TaskQueueVersioningInfo(), NOT_CURRENT),
        ([V1, UNVERSIONED], TaskQueueVersioningInfo(), None),
        ([UNVERSIONED], TaskQueueVersioningInfo(current_deployment_version=V2), NOT_POLLING),
        # A version that is drained, or not current yet, takes none up for the current one.
        ([V1], TaskQueueVersioningInfo(current_deployment_version=V2), NOT_POLLING),
        ([V1, V2], TaskQueueVersioningInfo(current_deployment_version=V2), None),
        # While a further version is tried with some of the trips, the others decide.
        ([V1], ramping(40), None),
        ([V1], ramping(100), NOT_POLLING),
        ([V2], ramping(100), None),
    ],
    ids=str,
)
async def test_only_a_worker_of_the_version_that_gets_new_trips_counts(
    pollers: list[WorkerDeploymentVersion],
    routing: TaskQueueVersioningInfo,
    obstacle: str | None,
) -> None:
    described = DescribeTaskQueueResponse(
        pollers=[poller(ALIVE, version) for version in pollers], versioning_info=routing
    )
    async with stub_server([CONNECTED, Answer(described.SerializeToString())]) as address:
        client = await lazy_client({"target_host": address})
        assert await nobody_takes_trips(client) == obstacle
