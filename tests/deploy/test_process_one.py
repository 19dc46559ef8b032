"""Each process of the image ends when it is told to, as process 1 of a container.

The kernel gives process 1 no signal that it has no handler for: what would end any other process
leaves it running until it is killed.
"""

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from lifecycle import STOP_LIMIT
from tests.deploy.image import (
    API,
    AUDIT,
    MIGRATION,
    WORKER,
    instruction,
    needs_namespaces,
    process_one,
)
from tests.processes import (
    ROOT,
    Service,
    bare_environment,
    free_port,
    heeds,
    service,
    wait_until,
)

pytestmark = [pytest.mark.slow, needs_namespaces]

GRACE = 1.0
LEAVING = 10.0
"""Seconds for all that is not the grace; on a machine that others use, too."""

TRIP = {"name": "Ada", "car": "valid-car", "hotel": "valid-hotel", "flight": "valid-flight"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["worker", "migration", "audit"])
def test_told_to_stop_while_it_waits_it_ends(name: str, number: signal.Signals) -> None:
    arguments = {"worker": WORKER, "migration": MIGRATION, "audit": AUDIT}[name]
    # Temporal is not there, and the database says nothing.
    with service() as started, socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://trips@127.0.0.1:{silent.getsockname()[1]}/trips"
        process = process_one(started, name, arguments, DATABASE_URL=url)
        process.start()
        wait_until(lambda: heeds(process.own_pid, signal.SIGTERM), "it can be told")
        # What is not done says so: a job that was cut off must not count as done.
        assert process.tell(number) == (0 if name == "worker" else 128 + number)
        assert "Traceback" not in process.output


def healthy(started: Service, metrics_port: int) -> bool:
    """Run the image's health check, as the engine does in the container."""
    _, script = instruction("HEALTHCHECK")
    ports = {"PORT": str(started.api_port), "METRICS_PORT": str(metrics_port)}
    command = [sys.executable, str(ROOT / script)]
    return not subprocess.run(command, env=bare_environment() | ports).returncode


def test_told_to_stop_with_a_trip_under_way_api_and_worker_end_in_time() -> None:
    metrics_port, nobody = free_port(), free_port()
    with (
        service(HOTEL_LATENCY_SECONDS=3_600, WORKER_GRACE_SECONDS=GRACE) as started,
        ThreadPoolExecutor() as callers,
    ):
        worker = process_one(started, "worker", WORKER, METRICS_PORT=str(metrics_port))
        api = process_one(started, "api", API)
        for process in (started.temporal, worker, api):
            process.start()
        worker.wait_for_output("Polling task queue")
        wait_until(lambda: started.status_of("/readyz") == 200, "the API is ready")
        assert healthy(started, nobody), "the API's container"
        booking = callers.submit(started.request, "POST", "/book", TRIP)
        wait_until(lambda: len(started.rows()) == 1, "the car is booked")

        assert not psutil.Process(api.own_pid).children(), "It has nobody to bury"
        begun = time.monotonic()
        assert api.tell(signal.SIGTERM) == 0
        assert time.monotonic() - begun < LEAVING
        assert booking.result().status == 202

        assert healthy(started, metrics_port), "the worker's container"
        assert not psutil.Process(worker.own_pid).children()
        begun = time.monotonic()
        assert worker.tell(signal.SIGTERM) == 0
        assert time.monotonic() - begun < GRACE + STOP_LIMIT + LEAVING
        assert not healthy(started, metrics_port)
