"""A supplier's service that says over TCP, byte for byte, what a test tells it to.

It speaks HTTP as well or as badly as its answers do, notes what it was sent, and can end or hold a
connection wherever it likes, which a web framework's server will not do.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

import pytest

from shared import BookVacationInput
from suppliers import Confirmed, HttpSupplier, OutcomeUnknown, SupplierError, Unavailable
from tests.faults import DEADLINE

TOKEN = "s3cr3t-t0k3n"

PREFIX = "/v1/reservations/"
"""Where the reservations of a service are, below its host."""


CONFIRMED = {"state": "confirmed", "item": "a-hotel", "reference": "QK7R2M"}

FULL = {"type": "about:blank", "title": "Conflict", "detail": "The hotel is full"}

SOON = {"Retry-After": "20"}

HELD = Confirmed("QK7R2M")
"""What `CONFIRMED` means."""

UNREACHED = (Unavailable, "The hotel supplier cannot be reached")
FAILED = (OutcomeUnknown, "The hotel supplier failed")

METHODS = ("PUT", "GET", "DELETE")

each_method = pytest.mark.parametrize("method", METHODS)


class Request(NamedTuple):
    """What a service was sent."""

    connection: int
    """The number of its connection, from 1."""
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def trip_id(self) -> str:
        """What the last part of the address means."""
        assert self.target.startswith(PREFIX)
        return unquote_to_bytes(self.target.removeprefix(PREFIX)).decode()


class Answer(NamedTuple):
    """What a service says, and what becomes of the connection then."""

    raw: bytes
    then: Literal["keep", "close", "reset", "hold", "drip"] = "keep"


def http(
    status: int, body: Any = b"", headers: Mapping[str, str] | None = None, problem: bool = False
) -> Answer:
    """Return a whole answer, whose body is bytes, or else JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/problem+json" if problem else "application/json"
    lines = {"Content-Type": kind, "Content-Length": str(len(content))} | dict(headers or {})
    head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    return Answer(head.encode() + b"\r\n" + content)


@dataclass
class RawService:
    """What a test scripts and reads; the last answer is given again and again."""

    url: str = ""
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it holds all answers back."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has closed a connection that was held."""
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _served: set[asyncio.Task[Any]] = field(default_factory=set)

    def says(self, *answers: Answer) -> None:
        self.answers = deque(answers)

    async def asked(self, times: int = 1) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(DEADLINE):
            while len(self.requests) < times:
                await asyncio.sleep(0.001)

    def interject(self, raw: bytes) -> None:
        """Say something that nobody has asked for."""
        for writer in self._writers:
            writer.write(raw)

    def hang_up(self) -> None:
        """Close all connections at once."""
        for writer in self._writers:
            writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._served.add(task)
        self._writers.append(writer)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(self.connections, reader, writer)
        writer.close()

    async def _serve(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            self.requests.append(await _request(number, reader))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
            await self.answering.wait()
            writer.write(answer.raw)
            await writer.drain()
            if answer.then in ("hold", "drip"):
                await _hung_up(reader, writer, drip=b" " if answer.then == "drip" else b"")
                self.hung_up.set()
            if answer.then == "reset":
                writer.transport.abort()
            if answer.then != "keep":
                return

    async def end(self) -> None:
        self.answering.set()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._served)


async def _hung_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes) -> None:
    """Wait until the client has closed its connection, and say `drip` again and again."""
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(drip)
            await writer.drain()
            await asyncio.sleep(0.001)


async def _request(number: int, reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Request(number, method, target, headers, body)


@asynccontextmanager
async def raw_service(context: ssl.SSLContext | None = None) -> AsyncIterator[RawService]:
    service = RawService()
    service.answering.set()
    server = await asyncio.start_server(
        service.serve, "127.0.0.1", limit=1024 * 1024, backlog=1_000, ssl=context
    )
    scheme, port = "https" if context else "http", server.sockets[0].getsockname()[1]
    service.url = f"{scheme}://127.0.0.1:{port}/v1"
    try:
        yield service
    finally:
        server.close()
        await service.end()
        await server.wait_closed()


@asynccontextmanager
async def hotels_at(
    url: str, token: str | None = None, connections: int = 100
) -> AsyncIterator[HttpSupplier]:
    """The hotels' supplier, which is a service somewhere."""
    supplier = HttpSupplier("hotel", url, token, connections)
    try:
        yield supplier
    finally:
        await supplier.close()


async def call(supplier: HttpSupplier, method: str, trip: BookVacationInput) -> Any:
    """Make the call that goes out by this method; return what it returns or raises.

    What it raises, and what that was raised from, has no secret of ours.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            match method:
                case "PUT":
                    return await supplier.book(trip, 1)
                case "GET":
                    return await supplier.find(trip)
            return await supplier.cancel(trip)
    except SupplierError as error:
        link: BaseException | None = error
        while link:
            assert TOKEN not in f"{link} {link!r} {vars(link)}"
            link = link.__cause__ or link.__context__
        assert "".join(traceback.format_exception(error)).count("Traceback") == 1
        return error


async def heard(supplier: HttpSupplier, method: str, asking: BookVacationInput) -> tuple[type, str]:
    """Make a call as `call` does; return the type and the text of its outcome."""
    outcome = await call(supplier, method, asking)
    return type(outcome), str(outcome)
