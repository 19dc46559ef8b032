"""The receiver in `docs/webhooks.md`, as it stands there, and the processes that tell it."""

import datetime as dt
import json
import re
import signal
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from standardwebhooks import Webhook

from tests.processes import ROOT, Process, bare_environment, free_port, service, wait_until
from tests.webhooks.receiving import KEY, OLD_KEY

PAGE = (ROOT / "docs" / "webhooks.md").read_text()
(CODE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(STANDS,) = re.findall(r"`(SELECT [^`]*)`", PAGE)

TRIP = {"name": "Jo", "car": "a-car", "hotel": "a-hotel", "flight": "a-flight"}


class Receiver:
    """The receiver of the page, as a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "receiver.py").write_text(CODE)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/trips"
        flask = [sys.executable, "-m", "flask", "--app", "receiver"]
        command = [*flask, "run", "--port", str(self.port)]
        environment = bare_environment() | {"WEBHOOK_SECRET": KEY}
        self.process = Process(
            "receiver", command, folder / "receiver.log", environment, folder=folder
        )

    def start(self) -> None:
        self.process.start()
        self.process.wait_for_output("Running on")

    def post(self, body: str, headers: dict[str, str]) -> int:
        request = urllib.request.Request(self.url, body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def says(self, query: str) -> list[tuple[object, ...]]:
        try:
            with closing(sqlite3.connect(self._folder / "inbox.db")) as inbox:
                return inbox.execute(query).fetchall()
        except sqlite3.OperationalError:  # Nothing has come yet.
            return []

    def statuses(self, trip_id: str) -> list[str]:
        """Return what it was told of a trip, in order."""
        told = "SELECT user_id, status FROM inbox ORDER BY sequence"
        return [str(status) for found, status in self.says(told) if found == trip_id]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    made.start()
    yield made
    made.process.kill()


def event(status: str, sequence: int) -> str:
    data = {"user_id": "trip", "status": status, "sequence": sequence}
    return json.dumps({"id": f"evt_{sequence}", "type": f"trip.{status}", "data": data})


def signed(body: str, key: str = KEY, age: float = 0.0) -> dict[str, str]:
    now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    event_id = str(json.loads(body)["id"])
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(key).sign(event_id, now, body),
    }


def test_the_receiver_of_the_page_does_what_the_page_says(receiver: Receiver) -> None:
    assert len([line for line in CODE.splitlines() if line]) <= 20
    booked, cancelled = event("booked", 1), event("cancelled", 2)
    for body in (cancelled, booked, cancelled):
        assert receiver.post(body, signed(body)) == 204
    assert receiver.says("SELECT count(*) FROM inbox") == [(2,)]
    assert receiver.says(STANDS) == [("trip", "cancelled", 2)]
    third = event("booked", 3)
    for headers in (
        signed(third, OLD_KEY),
        signed(third, age=400),
        signed(third, age=-400),
        signed(booked),
        signed(third) | {"webhook-signature": "none"},
        {},
    ):
        assert receiver.post(third, headers) == 400
    both = f"{signed(third, OLD_KEY)['webhook-signature']} {signed(third)['webhook-signature']}"
    assert receiver.post(third, signed(third) | {"webhook-signature": both}) == 204


@pytest.mark.slow
def test_each_event_arrives_whoever_dies(receiver: Receiver) -> None:
    settings: dict[str, Any] = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": f"{OLD_KEY} {KEY}"}
    with service(**settings) as running:
        running.start(workers=2)

        def book() -> str:
            answer = running.request("POST", "/book", TRIP)
            assert answer.status == 200
            return str(answer.body["user_id"])

        def arrives(trip_id: str, *statuses: str) -> None:
            told = f"{statuses} of {trip_id} have arrived"
            wait_until(lambda: receiver.statuses(trip_id) == list(statuses), told, deadline=180)

        first = book()
        arrives(first, "booked")

        receiver.process.kill()
        assert running.request("POST", f"/bookings/{first}/cancel").status == 200
        told = "No answer: ConnectionRefusedError"
        wait_until(lambda: any(told in each.output for each in running.workers), "a try fails")
        receiver.start()
        arrives(first, "booked", "cancelled")

        def is_sending() -> bool:
            return any(is_connected(each, receiver) for each in running.workers)

        wait_until(lambda: not is_sending(), "nothing is sent")
        receiver.process.freeze()
        second = book()
        wait_until(is_sending, "a worker waits for the receiver's answer")
        for process in (*running.workers, receiver.process):
            process.kill()
        receiver.start()
        for worker in running.workers:
            worker.start()
        running.wait_until_ready()

        third = book()
        running.temporal.kill()
        running.temporal.start()
        running.wait_until_ready()
        arrives(third, "booked")
        arrives(book(), "booked")
        arrives(second, "booked")  # Once Temporal takes the try for lost.
        ids = receiver.says("SELECT id FROM inbox")
        assert len(ids) == len(set(ids)) == 5
        for worker in running.workers:
            assert worker.stop(signal.SIGTERM) == 0
            assert "Traceback" not in worker.output


def is_connected(worker: Process, receiver: Receiver) -> bool:
    connections = psutil.Process(worker.pid).net_connections("tcp")
    return any(each.raddr and each.raddr.port == receiver.port for each in connections)
