"""Many clients at once, against the real processes: who is served, who waits, who is refused."""

import http.client
import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from api.places import OTHER_REQUESTS
from shared import KINDS
from tests.processes import (
    DEADLINE,
    Answer,
    Process,
    Service,
    bare_environment,
    free_port,
    service,
    wait_until,
)
from tests.telemetry.scraping import scrape

AT_ONCE = 1.0
"""Seconds that an answer may take on a busy machine and still count as waiting for nothing."""

RESPOND_ASYNC = {"Prefer": "respond-async"}
pytestmark = pytest.mark.slow

TRIP = json.dumps({"name": "Jo", **dict.fromkeys(KINDS, "x")}).encode()


def ask(service: Service, method: str, path: str, body: bytes = b"") -> socket.socket:
    """Send a request and do not wait for its answer."""
    line = socket.create_connection(("127.0.0.1", service.api_port), DEADLINE)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    line.sendall(head.encode() + body)
    return line


def answer_of(line: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(line)
    response.begin()
    response.read()
    return response


@contextmanager
def crowd(service: Service, count: int, *request: Any) -> Iterator[list[socket.socket]]:
    """So many clients that have sent the same request at once."""
    with ExitStack() as lines:
        yield [lines.enter_context(closing(ask(service, *request))) for _ in range(count)]


def seconds_until(service: Service, path: str, status: int) -> float:
    begun = time.monotonic()
    assert service.status_of(path) == status
    return time.monotonic() - begun


def test_whatever_hangs_it_is_alive_at_once() -> None:
    with service(MAX_OPEN_BOOKINGS=2) as frozen:
        frozen.start_without_worker()
        frozen.temporal.freeze()
        assert frozen.status_of("/bookings/some-trip") == 404, "A look-up does not ask Temporal"
        let_in = 2 + OTHER_REQUESTS
        with crowd(frozen, let_in + 50, "GET", "/readyz") as lines:
            assert max(seconds_until(frozen, "/livez", 200) for _ in range(5)) < AT_ONCE
            assert seconds_until(frozen, "/openapi.json", 503) < AT_ONCE, "No more are let in"
            in_use = scrape(frozen.api_port).value("booking_places_in_use", place="request")
            assert in_use == let_in, "A scrape is answered all the same"
            answers = [answer_of(line) for line in lines]
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        frozen.temporal.thaw()
        frozen.wait_for_temporal()


def test_more_clients_than_descriptors_are_served_one_after_the_other() -> None:
    with service(BOOK_WAIT_SECONDS=2) as short:
        command = ["sh", "-c", 'ulimit -n 256 && exec "$0" "$@"', sys.executable, "starter.py"]
        log = short.api.log
        short.api = Process("api", command, log, bare_environment() | short.settings)
        short.processes.append(short.api)
        short.start_without_worker()
        assert "156 connections fit into the limit of 256 open files" in short.api.output
        with crowd(short, 300, "POST", "/book", TRIP) as lines:  # No worker: they wait.
            assert {answer_of(line).status for line in lines} == {202}
        assert short.status_of("/livez") == 200
        assert "Traceback" not in short.api.output
        assert len(short.api.output.splitlines()) < 20
        assert short.api.stop() == 0


def is_full(service: Service) -> bool:
    """Tell whether a booking is refused at once. One that is not goes, and gives up its place."""
    with closing(ask(service, "POST", "/book", TRIP)) as line:
        answered, _, _ = select.select([line], [], [], AT_ONCE)
        return bool(answered) and answer_of(line).status == 429


def test_eight_clients_at_once_on_two_api_processes_get_one_booking() -> None:
    with service(HOTEL_LATENCY_SECONDS=0.5) as running:
        ports = [running.api_port, free_port()] * 4
        second = running.python("api-2", "starter.py", PORT=str(ports[1]))
        running.start()
        second.start()
        second.wait_for_output("Ready: book at")
        headers = {"Idempotency-Key": "eight-at-once"}

        def book(port: int) -> Answer:
            return running.request("POST", "/book", json.loads(TRIP), headers, port=port)

        with ThreadPoolExecutor(len(ports)) as clients:
            answers = list(clients.map(book, ports))
        assert {answer.status for answer in answers} == {200}
        assert len({json.dumps(answer.body) for answer in answers}) == 1
        assert len(running.rows()) == len(KINDS)


def test_the_place_of_a_client_that_has_gone_is_soon_free() -> None:
    with service(MAX_OPEN_BOOKINGS=2) as idle:
        idle.start_without_worker()
        # No worker: they wait.
        path = idle.request("POST", "/book", json.loads(TRIP), RESPOND_ASYNC).body["location"]
        with crowd(idle, 2, "POST", "/book", TRIP):
            wait_until(
                lambda: len(idle.request("GET", "/bookings").body["bookings"]) == 3, "they wait"
            )
            assert is_full(idle)
            begun = time.monotonic()
            assert idle.request("POST", "/book", json.loads(TRIP), RESPOND_ASYNC).status == 202
            assert time.monotonic() - begun < AT_ONCE
            assert idle.request("POST", f"{path}/cancel").status == 202
        left = time.monotonic()
        wait_until(lambda: not is_full(idle), "a place is free")
        assert time.monotonic() - left < 2 + AT_ONCE
        assert "Traceback" not in idle.api.output
