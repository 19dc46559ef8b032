"""What slows a process down: a CPU that it has only in short turns, a line that is long."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.processes import Process


@contextlib.contextmanager
def held_to(process: Process, share: float, period: float) -> Iterator[None]:
    """Let a process run for a share of the time only."""
    over = threading.Event()

    def starve() -> None:
        while not over.is_set():
            process.freeze()
            over.wait(period * (1 - share))
            process.thaw()
            over.wait(period * share)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class Link:
    """A line between two processes."""

    delay: float
    """Seconds that it takes, each way. It may be changed at any time."""


@contextlib.contextmanager
def slow_link(port: int, to_port: int, delay: float) -> Iterator[Link]:
    """Forward TCP connections from one port of this machine to another, late by `delay` seconds."""
    link = Link(delay)
    loop = asyncio.new_event_loop()
    writers: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        when = 0.0

        def later() -> float:
            # In their order, also when the delay has become shorter.
            return max(when + 1e-6, loop.time() + link.delay)

        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                when = later()
                loop.call_at(when, writer.write, data)
        loop.call_at(later(), writer.close)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", to_port)
        except OSError:
            # Nobody is there; who has connected must not think otherwise.
            writer.close()
            return
        writers.extend((writer, back))
        with contextlib.suppress(asyncio.CancelledError):  # The link is closed.
            await asyncio.gather(forward(reader, back), forward(there, writer))

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield link
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, writers), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server, writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close a server with the connections that it has accepted."""
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in writers:
        writer.close()
