"""The worker, as an object and as a process of its own."""

import datetime as dt
import signal
import socket
import sys
from collections.abc import Callable, Iterator
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
from tests.processes import Process, bare_environment


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


@pytest.fixture
def worker(environment: WorkflowEnvironment, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `python run_worker.py` with settings of its own."""
    started: list[Process] = []

    def start(**settings: str) -> Process:
        defaults = {
            "TEMPORAL_ADDRESS": environment.client.service_client.config.target_host,
            "DATABASE_URL": f"sqlite:///{tmp_path}/missing/worker.db",
        }
        environ = bare_environment() | defaults | settings
        command = [sys.executable, "run_worker.py"]
        started.append(Process("worker", command, tmp_path / "worker.log", environ))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()


def assert_stops(worker: Process, number: signal.Signals, *further: signal.Signals) -> None:
    """Send the signal, and `further` ones during the stop; wait for an orderly end."""
    worker.send(number)
    worker.wait_for_output(f"Stopping on {number.name}\n")
    for again in further:
        worker.send(again)
    assert worker.exit_code() == 0
    assert worker.output.endswith("Stopped\n")
    assert "Traceback" not in worker.output


def test_a_signal_stops_a_worker_that_waits_for_temporal(
    worker: Callable[..., Process], unused_tcp_port: int
) -> None:
    nowhere = f"127.0.0.1:{unused_tcp_port}"
    waiting = worker(TEMPORAL_ADDRESS=nowhere)
    waiting.wait_for_output(f"Waiting for Temporal at {nowhere}: ")
    assert_stops(waiting, signal.SIGTERM)


def test_the_worker_waits_for_the_database_and_goes_on_when_it_is_there(
    worker: Callable[..., Process], tmp_path: Path
) -> None:
    waiting = worker()
    waiting.wait_for_output("Waiting for the database: ")
    (tmp_path / "missing").mkdir()
    waiting.wait_for_output("Polling task queue saga-task-queue")
    # A further signal, of an impatient user, does not disturb the orderly stop.
    assert_stops(waiting, signal.SIGINT, signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize(
    "name", ["HEARTBEAT_TIMEOUT_SECONDS", "TEMPORAL_ADDRESS", "OTEL_TRACES_EXPORTER"]
)
def test_a_bad_setting_stops_the_worker_with_one_line(
    worker: Callable[..., Process], name: str
) -> None:
    stopped = worker(**{name: "0"})
    assert stopped.exit_code() == 1
    assert len(stopped.output.splitlines()) == 1
    assert name in stopped.output


def test_a_port_that_is_taken_stops_the_worker_with_one_line(
    worker: Callable[..., Process],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stopped = worker(METRICS_PORT=str(port))
        assert stopped.exit_code() == 1
        assert len(stopped.output.splitlines()) == 1
        assert f"127.0.0.1, {port}" in stopped.output
