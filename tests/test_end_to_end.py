"""The service as its users meet it: real processes, the commands and clients of the documents."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared import KINDS
from tests.processes import (
    DEADLINE,
    ROOT,
    Process,
    Service,
    bare_environment,
    service,
    wait_until,
)

HELD = {str(kind): f"valid-{kind}-id" for kind in KINDS}

FURTHER: list[str] = [*KINDS[3:]]
"""Kinds that the README's commands do not name."""


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
    items = "".join(f', "{kind}": "{HELD[kind]}"' for kind in FURTHER)
    here = re.sub(r'("flight": *"[^"]*")', rf"\1{items}", here)
    shown = subprocess.run(
        here, shell=True, check=True, capture_output=True, text=True, timeout=DEADLINE
    ).stdout
    answer: dict[str, Any] = json.loads(shown[shown.index("{") :])
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands need curl")
def test_the_readmes_commands_book_one_trip_and_roll_back_the_other() -> None:
    with (
        service(HOTEL_LATENCY_SECONDS=1, HOTEL_OUTAGE_ATTEMPTS=1) as default,
        ThreadPoolExecutor() as threads,
    ):
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
            **{kind: f"{kind.capitalize()}: {HELD[kind]}" for kind in FURTHER},
            "result": "Booked car: valid-car-id Booked hotel: valid-hotel-id"
            " Booked flight: valid-flight-id"
            + "".join(f" Booked {kind}: {HELD[kind]}" for kind in FURTHER),
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

        for process in (default.workers[0], default.api):
            assert process.stop() == 0
            assert "Traceback" not in process.output
            assert " ERROR " not in process.output


def documented_client(service: Service, folder: Path, port: int | None = None) -> Process:
    """Return the client of docs/using-it.md, not yet started, with `folder` for its request.

    It asks the API, or what listens on `port`.
    """
    [code] = blocks_of("docs/using-it.md", "python")
    script = folder / "client.py"
    script.write_text(code.replace("localhost:3000", f"localhost:{port or service.api_port}"))
    command = [sys.executable, str(script)]
    client = Process("client", command, folder / "client.log", bare_environment(), folder)
    service.processes.append(client)
    return client


@pytest.mark.slow
def test_the_documented_client_books_once_whatever_stops_it_or_the_service(tmp_path: Path) -> None:
    with service(HOTEL_LATENCY_SECONDS=1, HOTEL_OUTAGE_ATTEMPTS=1, BOOK_WAIT_SECONDS=0.5) as slow:
        client, stored = documented_client(slow, tmp_path), tmp_path / "request.json"
        client.start()
        wait_until(stored.exists, "the request is stored")
        slow.api.start()  # Without Temporal it answers 503.
        wait_until(lambda: slow.status_of("/livez") == 200, "the API is alive")
        time.sleep(3)  # The outage itself: longer than the client waits before it asks again.
        assert client.running
        slow.temporal.start()
        slow.workers[0].start()
        wait_until(slow.rows, "the trip runs")
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

        trip = json.loads(stored.read_text())["trip"]
        stored.write_text(json.dumps({"key": "another", "trip": trip | {"car": ""}}))
        client.start()
        assert client.exit_code() != 0
        assert "HTTP Error 400" in client.output


@pytest.mark.slow
def test_a_second_api_at_the_same_port_ends_with_one_line() -> None:
    with service() as started, socket.create_server(("127.0.0.1", started.api_port)):
        started.api.start()
        assert started.api.exit_code() == 1
        assert started.api.output.splitlines()[-1] == (
            f"Cannot listen on 127.0.0.1:{started.api_port}: Address already in use"
        )
        assert "Traceback" not in started.api.output
