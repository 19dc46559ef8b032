"""The HTTP server by itself: what it refuses, whom it cuts off, how many it takes."""

import asyncio
import http.client
import json
import os
import resource
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import AsyncMock

import pytest
from flask import Flask
from pydantic import SecretStr
from temporalio.client import Client

from api import server
from api.places import OTHER_REQUESTS, PROBES_AT_ONCE, threads_for
from api.problems import MEDIA_TYPE, SECURITY_HEADERS
from bookings import BookingNotFound
from settings import Settings
from starter import create_app
from tests.api.api_client import JOHN, JSON
from tests.api.serving import serving
from tests.api.stand_in import StandIn, app_over
from tests.bookings.requests import new_trip
from tests.processes import wait_until


def small() -> Flask:
    app = Flask("small")
    app.add_url_rule("/", view_func=lambda: "served")
    return app


def get(port: int, path: str = "/") -> http.client.HTTPResponse:
    return asked(port, path).getresponse()


def asked(port: int, path: str = "/") -> http.client.HTTPConnection:
    """Send a request and do not wait for its answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    line.request("GET", path, headers={"Connection": "close"})
    return line


def sent(port: int, request: bytes) -> http.client.HTTPResponse:
    """Send bytes as they are and return what is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request)
        response = http.client.HTTPResponse(line)
        response.begin()
        return response


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 17_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
    ids=lambda given: ascii(given)[:40],
)
def test_what_the_server_refuses_is_a_problem_too(request_: bytes, status: int) -> None:
    with serving(small()) as port:
        response = sent(port, request_)
        assert response.status == status
        headers = dict(response.headers)
        assert headers["Content-Type"] == MEDIA_TYPE
        assert headers.items() >= SECURITY_HEADERS.items()
        body = json.loads(response.read())
        assert body["status"] == status
        assert body["title"] and body["detail"]
        assert get(port).read() == b"served"


SECRET = "0123456789abcdef"


@pytest.mark.parametrize(
    ("keys", "owners", "named"),
    [
        ("", ["anonymous", ""], None),
        ("", ["anonymous", "shop"], "'shop'"),
        (f"shop:{SECRET},desk:{SECRET}1:operator", ["shop", "desk"], None),
        (f"shop:{SECRET}", ["anonymous", "shop", "old\nshop", ""], r"'', 'anonymous', 'old\nshop'"),
        (
            f"shop:{SECRET}",
            [f"shop-{number:03}" for number in range(200)],
            "'shop-000', 'shop-001'",
        ),
    ],
    ids=["no keys", "keys no more", "all have keys", "keys since", "many"],
)
async def test_the_log_says_at_the_start_whose_trips_no_caller_has(
    own_database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    keys: str,
    owners: list[str],
    named: str | None,
) -> None:
    app = create_app(cast(Client, object()), Settings(api_keys=SecretStr(keys)))
    bookings, options = app.extensions["bookings"], app.extensions["options"]
    for number, owner in enumerate(owners):
        await app.extensions["record"].trips.accept(new_trip(f"trip-{number}", owner=owner))
    obstacles = iter(["The record is away", None])
    monkeypatch.setattr(bookings, "check_ready", AsyncMock(side_effect=obstacles))
    monkeypatch.setattr(server, "READY_INTERVAL", 0)
    with caplog.at_level("INFO"):
        await server._announce(bookings, options, "temporal:7233", "Ready")
    said = [record.getMessage() for record in caplog.records if record.name == "api.server"]
    assert said[:2] == ["Waiting: The record is away (Temporal at temporal:7233)", "Ready"]
    assert len(said) == (2 if named is None else 3)
    if named is not None:
        assert said[2].startswith(f"There are trips of owners without an API key: {named}")
        assert said[2].endswith(". To hand them over: `make handover FROM=… TO=…`")
        assert len(said[2]) < 600


@pytest.mark.parametrize("size", [20_000, 300_000, 600_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_read_and_refused(
    monkeypatch: pytest.MonkeyPatch, size: int, chunked: bool
) -> None:
    """A body that is not read to its end resets the line: a proxy then tells of a bad gateway."""
    # Where temporary files are made, so that a body in a file would show.
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    lengths = (
        f"Transfer-Encoding: chunked\r\n\r\n{size:x}" if chunked else f"Content-Length: {size}"
    )
    start = f"POST /book HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lengths}"
    request = f"{start}\r\n" + ("" if chunked else "\r\n")
    body = b"x" * size + (b"\r\n0\r\n\r\n" if chunked else b"")
    app = app_over(StandIn())
    with (
        serving(app) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as line,
    ):
        for _ in range(2):  # The second on the same line, which is good still.
            line.sendall(request.encode() + body)
            response = http.client.HTTPResponse(line)
            response.begin()
            problem = json.loads(response.read())
            assert (response.status, problem["detail"]) == (413, "The body is over 16 KiB.")


def test_a_client_that_does_not_finish_its_request_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "SLOW_CLIENT_SECONDS", 1)
    monkeypatch.setattr(server, "SLOW_CLIENT_CHECK_SECONDS", 1)
    with (
        serving(small()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=15) as slow,
    ):
        slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
        assert slow.recv(1) == b"", "Cut off"


def test_more_clients_than_connections_are_served_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_connections_that_fit", lambda _: 4)
    with serving(small()) as port:
        for line in [asked(port) for _ in range(20)]:
            assert line.getresponse().read() == b"served"


def test_whatever_hangs_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    bookings, go_on = StandIn(), threading.Event()

    async def hang(*_: object) -> None:
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        raise BookingNotFound

    monkeypatch.setattr(bookings, "look_up", hang)
    app = app_over(bookings, max_open_bookings=2)
    let_in, threads = 2 + OTHER_REQUESTS, threads_for(2)
    with serving(app, threads=threads) as port:
        try:
            lines = [asked(port, "/bookings/x") for _ in range(let_in + 20)]
            told = f'booking_places_in_use{{place="request"}} {let_in}.0'.encode()
            wait_until(lambda: told in get(port, "/metrics").read(), "all places are taken")
            assert get(port, "/openapi.json").status == 503
            assert get(port, "/livez").status == 200
        finally:
            go_on.set()
        answers = [line.getresponse() for line in lines]
    refused = [answer for answer in answers if answer.status == 503]
    assert len(answers) - len(refused) == let_in
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)


def test_those_who_wait_for_readyz_take_no_place_of_a_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bookings, go_on, waiting = StandIn(), threading.Event(), 0

    async def hang() -> None:
        nonlocal waiting
        waiting += 1
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(bookings, "check_ready", hang)
    app = app_over(bookings, max_open_bookings=2)
    with serving(app, threads=threads_for(2)) as port:
        try:
            lines = [asked(port, "/readyz") for _ in range(PROBES_AT_ONCE)]
            wait_until(lambda: waiting == PROBES_AT_ONCE, "they wait")
            assert {get(port, "/readyz").status for _ in range(132)} == {503}
            assert get(port, "/bookings/x").status == 404
            assert get(port, "/livez").status == 200
        finally:
            go_on.set()
        assert {line.getresponse().status for line in lines} == {200}


def test_a_client_that_has_gone_gives_up_its_place() -> None:
    bookings = StandIn()
    bookings.becomes = "running"
    app = app_over(bookings, max_open_bookings=1)
    with serving(app) as port:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        line.request("POST", "/book", json.dumps(JOHN), JSON)
        wait_until(lambda: bookings.waiting == 1, "it waits")
        line.close()
        wait_until(lambda: bookings.waiting == 0, "its place is free")


@pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2_000, reason="few descriptors are allowed"
)
def test_descriptors_that_select_cannot_watch_are_served() -> None:
    with serving(small()) as port, open_files(1_100):
        assert get(port).read() == b"served"


@contextmanager
def open_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    try:
        yield
    finally:
        for number in opened:
            os.close(number)


@pytest.mark.parametrize(
    ("limit", "fitting"),
    [(1_099, 999), (1_100, 1_000), (resource.RLIM_INFINITY, 1_000), (100, 16)],
)
def test_no_more_connections_are_taken_than_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, limit: int, fitting: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    assert server._connections_that_fit(1_000) == fitting
