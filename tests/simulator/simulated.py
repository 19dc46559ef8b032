"""A simulator of the suppliers in the test's process, its clock in the test's hand."""

import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from aiohttp.test_utils import TestServer
from yarl import URL

from simulator.answers import SimulatedSuppliers
from simulator.behaviour import Mode
from simulator.service import SimulatorService
from simulator.stock import Stock

SCRIPT = "simulator/__main__.py"
"""What a container of the image is told to run."""


class CutOff(Exception):
    """The connection was closed before an answer came."""


@dataclass(frozen=True)
class Reply:
    """What the simulator has answered."""

    status: int
    headers: dict[str, str]
    text: str
    body: Any
    """The JSON, if it is any."""


class Simulator:
    """Starts, calls and stops a simulator. What `options` has is the service's."""

    def __init__(self, file: Path, **options: Any) -> None:
        self.now = 1_000_000.0
        self._file = file
        self._options = options

    async def start(self, **mode: Any) -> None:
        """Start it on a free port, with what the file holds."""
        self.stock = Stock(self._file)
        self.suppliers = SimulatedSuppliers(self.stock, Mode(**mode), 3.0, lambda: self.now)
        self.server = TestServer(SimulatorService(self.suppliers, **self._options).app())
        await self.server.start_server()
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), middlewares=[_sent_once]
        )

    async def stop(self) -> None:
        await self.session.close()
        await self.server.close()
        self.stock.close()

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Raises `CutOff`."""
        async with self.session.request(
            method,
            URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True),
            json=json,
            data=data,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            is_json = "json" in answer.content_type and text[-1] in "}]"
            return Reply(
                answer.status, dict(answer.headers), text, await answer.json() if is_json else None
            )

    async def put(self, trip_id: str, item: str, kind: str = "hotel") -> Reply:
        return await self.call("PUT", _path(kind, trip_id), {"item": item})

    async def get(self, trip_id: str, kind: str = "hotel") -> Reply:
        return await self.call("GET", _path(kind, trip_id))

    async def delete(self, trip_id: str, kind: str = "hotel") -> Reply:
        return await self.call("DELETE", _path(kind, trip_id))

    async def states(self, trip_id: str | None = None) -> Counter[str]:
        """How many reservations there are in each state, as an audit tells."""
        rows = (await self.call("GET", "/reservations")).body
        return Counter(row["state"] for row in rows if trip_id in (None, row["trip_id"]))


def _path(kind: str, trip_id: str) -> str:
    return f"/{kind}s/reservations/{quote(trip_id, safe='')}"


@asynccontextmanager
async def simulated(
    file: Path, mode: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Simulator]:
    """A simulator that runs during the block."""
    simulator = Simulator(file, **options)
    await simulator.start(**mode or {})
    try:
        yield simulator
    finally:
        await simulator.stop()


async def _sent_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from sending a request again by itself when a connection ends."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise CutOff from error


@contextmanager
def slow_call(port: int) -> Iterator[socket.socket]:
    """Ask a simulator's process for a car that takes its time; yield the line for the answer."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            b"PUT /cars/reservations/t HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n"
            b'{"item": "slow"}'
        )
        yield line
