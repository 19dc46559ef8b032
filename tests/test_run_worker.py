"""The worker, as an object and as a process of its own."""

import asyncio
import datetime as dt
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from run_worker import create_worker, create_workers
from settings import Settings
from shared import KINDS, TASK_QUEUE_NAME, task_queue_of
from tests.processes import DEADLINE, ROOT

# The other one, of a worker that polls, is where it waits for the database.
sigterm_first = pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)


async def test_the_worker_polls_the_trips_queue_with_everything_a_trip_needs(
    client: Client,
) -> None:
    async with create_worker(client, Settings()) as worker:
        config = worker.config()
    assert config.get("task_queue") == TASK_QUEUE_NAME
    assert [workflow.__name__ for workflow in config.get("workflows", [])] == [
        "BookingWorkflow",
        "CancelBookingWorkflow",
    ]
    assert {activity.__name__ for activity in config.get("activities", [])} == {
        "record_trip",
        "record_stuck_undo",
        "resolve_undo",
        *(f"{verb}_{kind}" for verb in ("book", "undo_book") for kind in KINDS),
    }


async def test_the_times_of_liveness_fit_each_other(client: Client) -> None:
    async with create_worker(client, Settings()) as worker:
        config = worker.config()
    heartbeat = dt.timedelta(seconds=Settings().saga_policy.heartbeat_timeout)
    throttle = config.get("max_heartbeat_throttle_interval")
    sticky = config.get("sticky_queue_schedule_to_start_timeout")
    assert throttle and sticky
    assert 3 * throttle <= heartbeat, "One late heartbeat must not lose a try"
    assert heartbeat + sticky <= dt.timedelta(seconds=12), "A dead worker's trips wait so long"


@pytest.mark.parametrize("sandbox", [True, False])
async def test_workflows_run_in_the_sandbox_when_that_is_set(client: Client, sandbox: bool) -> None:
    async with create_worker(client, Settings(workflow_sandbox=sandbox)) as worker:
        runner = worker.config().get("workflow_runner")
    assert isinstance(runner, SandboxedWorkflowRunner) is sandbox


@pytest.mark.parametrize("build", [None, "7"])
async def test_every_worker_of_the_process_is_of_its_version(
    client: Client, monkeypatch: pytest.MonkeyPatch, build: str | None
) -> None:
    deployments: dict[str, WorkerDeploymentConfig | None] = {}

    def note(_client: Client, **options: Any) -> None:
        deployments[options["task_queue"]] = options["deployment_config"]

    # A real one that is made and never run keeps others from its task queue.
    monkeypatch.setattr("run_worker.Worker", note)
    settings = Settings(worker_deployment=build and "trips", worker_build_id=build)
    create_workers(client, settings)
    queues = [TASK_QUEUE_NAME, *map(task_queue_of, KINDS)]
    if build is None:
        assert deployments == dict.fromkeys(queues)
        return
    version = WorkerDeploymentVersion("trips", "7")
    pinned = WorkerDeploymentConfig(version, True, VersioningBehavior.PINNED)
    assert deployments == dict.fromkeys(queues, pinned)


@sigterm_first
async def test_a_signal_stops_a_polling_worker(address: str, tmp_path: Path, number: int) -> None:
    async with run_worker(TEMPORAL_ADDRESS=address, DATABASE_URL=database_in(tmp_path)) as worker:
        await worker.says("Polling task queue saga-task-queue")
        await worker.stops(number)


@sigterm_first
async def test_a_signal_stops_a_worker_that_waits_for_temporal(
    unused_tcp_port: int, tmp_path: Path, number: int
) -> None:
    nowhere = f"127.0.0.1:{unused_tcp_port}"
    async with run_worker(TEMPORAL_ADDRESS=nowhere, DATABASE_URL=database_in(tmp_path)) as worker:
        await worker.says(f"Waiting for Temporal at {nowhere}: ")
        await worker.stops(number)


async def test_the_worker_waits_for_the_database_and_goes_on_when_it_is_there(
    address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "missing"
    async with run_worker(TEMPORAL_ADDRESS=address, DATABASE_URL=database_in(folder)) as worker:
        await worker.says("Waiting for the database: ")
        folder.mkdir()
        await worker.says("Polling task queue saga-task-queue")
        # A further signal, of an impatient user, does not disturb the orderly stop.
        await worker.stops(signal.SIGINT, signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_TIMEOUT_SECONDS", "0"),
        pytest.param("TEMPORAL_PROFILE", "nobody-wrote-it", marks=pytest.mark.slow),
        pytest.param("TEMPORAL_ADDRESS", "localhost:99999", marks=pytest.mark.slow),
    ],
)
async def test_a_bad_setting_stops_the_worker_with_one_line(name: str, value: str) -> None:
    async with run_worker(**{name: value}) as worker:
        await worker.ends(1)
        assert len(worker.said) == 1
        assert name.partition("_")[0] in worker.said[0]


async def test_a_port_that_is_taken_stops_the_worker_with_one_line(unused_tcp_port: int) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", unused_tcp_port)
    async with taken, run_worker(METRICS_PORT=str(unused_tcp_port)) as worker:
        await worker.ends(1)
        assert len(worker.said) == 1
        assert f"127.0.0.1, {unused_tcp_port}" in worker.said[0]


@pytest.fixture
def address(environment: WorkflowEnvironment) -> str:
    return environment.client.service_client.config.target_host


def database_in(folder: Path) -> str:
    return f"sqlite:///{folder}/worker.db"


class WorkerProcess:
    """A running `python run_worker.py` and what it has said on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        self._process = process
        self._stderr = process.stderr
        self.said: list[str] = []

    async def says(self, words: str) -> None:
        """Wait until a line with `words`."""
        async with asyncio.timeout(DEADLINE):
            while line := await self._next_line():
                if words in line:
                    return
        pytest.fail(f"The worker ended without {words!r}:\n{''.join(self.said)}")

    async def stops(self, number: int, *further: int) -> None:
        """Send the signal, and `further` ones during the stop; wait for an orderly end."""
        self._process.send_signal(number)
        await self.says(f"Stopping on {signal.Signals(number).name}\n")
        for again in further:
            self._process.send_signal(again)
        await self.ends(0)
        assert self.said[-1].endswith("Stopped\n")
        assert "Traceback" not in "".join(self.said)

    async def ends(self, exit_code: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while await self._next_line():
                pass
            assert await self._process.wait() == exit_code, "".join(self.said)

    async def _next_line(self) -> str:
        line = (await self._stderr.readline()).decode()
        if line:
            self.said.append(line)
        return line


@asynccontextmanager
async def run_worker(**settings: str) -> AsyncIterator[WorkerProcess]:
    """Run the worker's process in an environment with `settings`; kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "run_worker.py",
        cwd=ROOT,
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield WorkerProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
