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

from run_worker import create_worker, create_workers, main
from settings import Settings
from shared import KINDS, TASK_QUEUE_NAME, task_queue_of
from tests.processes import Process, bare_environment
from tests.slowness import slow_link
from workflows import BookingWorkflow, CancelBookingWorkflow

Made = dict[str, dict[str, Any]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """The options of the workers that are made, by their task queues."""
    options: Made = {}

    def note(_client: Client, **given: Any) -> None:
        options[given["task_queue"]] = given

    # A real one that is made and never run keeps others from its task queue.
    monkeypatch.setattr("run_worker.Worker", note)
    return options


def test_the_worker_polls_the_trips_queue_with_everything_a_trip_needs(
    client: Client, made: Made
) -> None:
    create_worker(client, Settings())
    options = made[TASK_QUEUE_NAME]
    assert options["workflows"] == [BookingWorkflow, CancelBookingWorkflow]
    assert {activity.__name__ for activity in options["activities"]} == {
        "record_trip",
        "record_hold",
        "record_stuck_undo",
        "resolve_undo",
        "tell_settings",
        *(f"{verb}_{kind}" for verb in ("book", "undo_book") for kind in KINDS),
    }


def test_the_times_of_liveness_fit_each_other(client: Client, made: Made) -> None:
    create_worker(client, Settings())
    options = made[TASK_QUEUE_NAME]
    heartbeat = dt.timedelta(seconds=Settings().saga_policy.heartbeat_timeout)
    throttle = options["max_heartbeat_throttle_interval"]
    assert 3 * throttle <= heartbeat, "One late heartbeat must not lose a try"
    assert heartbeat <= dt.timedelta(seconds=10), "A dead worker's trips wait so long"
    # A busy worker's tasks would go astray.
    assert "sticky_queue_schedule_to_start_timeout" not in options


def test_workflows_run_in_the_sandbox_when_that_is_set(client: Client, made: Made) -> None:
    for sandbox in (True, False):
        create_worker(client, Settings(workflow_sandbox=sandbox))
        runner = made[TASK_QUEUE_NAME]["workflow_runner"]
        assert isinstance(runner, SandboxedWorkflowRunner) is sandbox


@pytest.mark.parametrize("build", [None, "7"])
def test_every_worker_of_the_process_is_of_its_version(
    client: Client, made: Made, build: str | None
) -> None:
    create_workers(client, Settings(worker_deployment=build and "trips", worker_build_id=build))
    version = WorkerDeploymentVersion("trips", "7")
    pinned = WorkerDeploymentConfig(version, True, VersioningBehavior.PINNED)
    assert {queue: options["deployment_config"] for queue, options in made.items()} == (
        dict.fromkeys([TASK_QUEUE_NAME, *map(task_queue_of, KINDS)], build and pinned)
    )


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts `python run_worker.py` with settings of its own."""
    started: list[Process] = []

    def start(**settings: str) -> Process:
        settings |= {"DATABASE_URL": f"sqlite:///{tmp_path}/missing/worker.db"}
        command = [sys.executable, "run_worker.py"]
        log = tmp_path / "worker.log"
        started.append(Process("worker", command, log, bare_environment() | settings))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_the_worker_waits_for_temporal_and_the_database_and_goes_on_when_they_are_there(
    worker: Callable[..., Process],
    environment: WorkflowEnvironment,
    tmp_path: Path,
    unused_tcp_port: int,
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    waiting = worker(TEMPORAL_ADDRESS=address)
    waiting.wait_for_output(f"Waiting for Temporal at {address}: ")
    _, _, port = environment.client.service_client.config.target_host.rpartition(":")
    with slow_link(unused_tcp_port, int(port), delay=0):
        waiting.wait_for_output("Waiting for the database: ")
        (tmp_path / "missing").mkdir()
        waiting.wait_for_output("Polling task queue saga-task-queue")
        waiting.send(signal.SIGINT)
        waiting.wait_for_output("Stopping on SIGINT\n")
        # A further signal, of an impatient user, does not disturb the orderly stop.
        for number in (signal.SIGTERM, signal.SIGINT):
            waiting.send(number)
        assert waiting.exit_code() == 0
    assert waiting.output.endswith("Stopped\n")
    assert "Traceback" not in waiting.output


@pytest.mark.parametrize("name", ["HEARTBEAT_TIMEOUT_SECONDS", "TEMPORAL_ADDRESS"])
def test_a_bad_setting_stops_the_worker_before_it_starts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "0")
    with pytest.raises(SystemExit, match=name):
        main()


@pytest.mark.slow
def test_a_port_that_is_taken_stops_the_worker_with_one_line(
    worker: Callable[..., Process],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stopped = worker(METRICS_PORT=str(port))
        assert stopped.exit_code() == 1
        assert len(stopped.output.splitlines()) == 1
        assert f"127.0.0.1, {port}" in stopped.output
