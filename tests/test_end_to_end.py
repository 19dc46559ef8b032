"""The service as its users meet it: real processes, the README's commands, faults from outside."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.processes import (
    DEADLINE,
    ROOT,
    Answer,
    Process,
    Service,
    bare_environment,
    service,
    wait_until,
)

TRIP = {
    "name": "John Doe",
    "attempts": 5,
    "car": "valid-car-id",
    "hotel": "valid-hotel-id",
    "flight": "valid-flight-id",
}
HELD = {"car": "valid-car-id", "hotel": "valid-hotel-id", "flight": "valid-flight-id"}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def blocks_of(document: str, language: str) -> list[str]:
    """Return a document's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def readme_bookings() -> list[str]:
    """Return the README's `curl` commands that book a trip, each as a shell would read it."""
    blocks = blocks_of("README.md", "console")
    command = r"^(?:\$ )?(curl(?:[^\n'\"\\]|\\.|'[^']*'|\"[^\"]*\")*)"
    commands = [found for block in blocks for found in re.findall(command, block, re.M | re.S)]
    return [command for command in commands if re.search(r"localhost:3000/book\b", command)]


def run_as_the_reader_does(command: str, port: int) -> dict[str, Any]:
    """Run a command of the README against our port and return the JSON that it shows."""
    here = command.replace("localhost:3000", f"localhost:{port}")
    shown = subprocess.run(
        here, shell=True, check=True, capture_output=True, text=True, timeout=DEADLINE
    ).stdout
    answer: dict[str, Any] = json.loads(shown[shown.index("{") :])
    return answer


def assert_stops_cleanly(process: Process) -> None:
    assert process.stop() == 0
    assert "Traceback" not in process.output
    assert " ERROR " not in process.output


def running_trips(service: Service) -> int:
    async def count() -> int:
        client = await Client.connect(service.temporal_address)
        return (await client.count_workflows("ExecutionStatus = 'Running'")).count

    return asyncio.run(count())


def book(threads: ThreadPoolExecutor, service: Service) -> Future[Answer]:
    """Send the trip and return once it runs, so that the request waits for its outcome."""
    before = running_trips(service)
    answer = threads.submit(service.request, "POST", "/book", TRIP)
    wait_until(lambda: answer.done() or running_trips(service) > before, "the trip runs")
    assert not answer.done()
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands need curl")
def test_the_readmes_commands_book_one_trip_and_roll_back_the_other(
    threads: ThreadPoolExecutor,
) -> None:
    with service(HOTEL_LATENCY_SECONDS=1, HOTEL_OUTAGE_ATTEMPTS=1) as default:
        default.start()
        commands = readme_bookings()[:2]
        booked, rolled_back = threads.map(run_as_the_reader_does, commands, [default.api_port] * 2)
        john, jane = booked.pop("user_id"), rolled_back.pop("user_id")
        assert re.fullmatch(r"john-doe-\d+", john)
        assert booked == {
            "cancelled": False,
            "car": "Car: valid-car-id",
            "hotel": "Hotel: valid-hotel-id",
            "flight": "Flight: valid-flight-id",
            "result": "Booked car: valid-car-id Booked hotel: valid-hotel-id"
            " Booked flight: valid-flight-id",
        }
        assert re.fullmatch(r"jane-smith-\d+", jane)
        assert rolled_back == {
            "cancelled": True,
            "result": "Voyage cancelled",
            "reason": "Invalid hotel booking, rolling back!",
        }
        assert (default.reserved(john), default.reserved(jane)) == (HELD, {})

        hotel = default.request("GET", f"/bookings/{john}").body["steps"][1]
        assert (hotel["kind"], hotel["attempts"]) == ("hotel", 2), "the simulated outage is on"

        assert_stops_cleanly(default.workers[0])
        assert_stops_cleanly(default.api)


def documented_client(service: Service, folder: Path) -> Process:
    """Return the client of docs/using-it.md, not yet started, with `folder` for its order."""
    [code] = blocks_of("docs/using-it.md", "python")
    script = folder / "client.py"
    script.write_text(code.replace("localhost:3000", f"localhost:{service.api_port}"))
    command = [sys.executable, str(script)]
    client = Process("client", command, folder / "client.log", bare_environment(), folder)
    service.processes.append(client)
    return client


@pytest.mark.slow
def test_the_documented_client_books_once_whatever_stops_it_or_the_service(tmp_path: Path) -> None:
    with service(HOTEL_LATENCY_SECONDS=1, HOTEL_OUTAGE_ATTEMPTS=1, BOOK_WAIT_SECONDS=0.5) as slow:
        client, order = documented_client(slow, tmp_path), tmp_path / "order.json"
        client.start()
        wait_until(order.exists, "the order is stored")
        slow.api.start()  # Without Temporal it answers 503.
        wait_until(lambda: slow.status_of("/livez") == 200, "the API is alive")
        time.sleep(3)  # The outage itself: longer than the client waits before it asks again.
        assert client.running
        slow.temporal.start()
        slow.workers[0].start()
        wait_until(lambda: slow.status_of("/readyz") == 200, "the service is ready")
        wait_until(lambda: running_trips(slow), "the trip runs")
        client.kill()
        client.start()
        assert client.exit_code() == 0, client.output
        booked = json.loads(client.output)
        assert booked["car"] == "Car: valid-car-id"
        assert slow.reserved(booked["user_id"]) == HELD

        client.start()
        assert client.exit_code() == 0, client.output
        assert json.loads(client.output) == booked
        assert len(slow.rows()) == 3

        trip = json.loads(order.read_text())["trip"]
        order.write_text(json.dumps({"key": "another", "trip": trip | {"car": ""}}))
        client.start()
        assert client.exit_code() != 0
        assert "HTTP Error 400" in client.output


@pytest.mark.slow
def test_the_service_outlives_an_absent_and_a_killed_temporal(threads: ThreadPoolExecutor) -> None:
    with service(HOTEL_LATENCY_SECONDS=1) as waiting:
        worker = waiting.workers[0]
        worker.start()
        waiting.api.start()
        for process in (worker, waiting.api):
            process.wait_for_output(waiting.temporal_address)
        wait_until(lambda: waiting.status_of("/livez") == 200, "the API is alive")

        ready = waiting.request("GET", "/readyz", deadline=6)
        assert (ready.status, ready.body["detail"]) == (503, "Temporal cannot be reached")
        refused = waiting.request("POST", "/book", TRIP, deadline=6)
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0

        waiting.temporal.start()
        waiting.wait_until_ready()
        answer = book(threads, waiting)
        waiting.temporal.kill()
        time.sleep(3)  # The outage itself: longer than an RPC is retried.
        assert not answer.done()
        waiting.temporal.start()
        booked = answer.result(DEADLINE)
        assert (booked.status, booked.body["cancelled"]) == (200, False)
        assert waiting.reserved(booked.body["user_id"]) == HELD


@pytest.mark.slow
def test_a_request_without_a_worker_or_with_a_stopping_api_is_told_where_to_look(
    threads: ThreadPoolExecutor,
) -> None:
    with service(BOOK_WAIT_SECONDS=0.5) as idle:
        idle.start_without_worker()
        begun = time.monotonic()
        answers = [book(threads, idle).result(DEADLINE)]
        assert time.monotonic() - begun > 0.5
        assert_stops_cleanly(idle.api)

        idle.api = idle.python("patient-api", "starter.py", BOOK_WAIT_SECONDS="60")
        idle.api.start()
        idle.wait_for_temporal()
        latecomer = idle.python("second-api", "starter.py")
        latecomer.start()
        assert latecomer.exit_code() != 0
        assert latecomer.output.splitlines()[-1] == (
            f"Cannot listen on 127.0.0.1:{idle.api_port}: Address already in use"
        )
        assert "Traceback" not in latecomer.output

        begun = time.monotonic()
        waiting = book(threads, idle)
        assert_stops_cleanly(idle.api)
        answers.append(waiting.result(DEADLINE))
        assert time.monotonic() - begun < 30
        for answer in answers:
            assert answer.status == 202
            assert answer.headers["location"] == f"/bookings/{answer.body['user_id']}"
