"""A server that speaks gRPC and gives scripted answers: a Temporal as no dev server can be made.

It knows as much of HTTP/2 as the SDK needs: https://www.rfc-editor.org/rfc/rfc9113
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.service import RPCStatusCode

PREFACE = 24
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
ACK = END_STREAM = 1
END_HEADERS = 4


@dataclass(frozen=True)
class Answer:
    """What a call is answered with: a message, or else the status of an error and its text."""

    message: bytes = b""
    error: RPCStatusCode | None = None
    text: str = "as the test wants it"
    never: bool = False
    """The caller waits in vain."""


CONNECTED = Answer()
"""The answer to the call with which a client connects."""


@asynccontextmanager
async def stub_server(answers: Iterable[Answer]) -> AsyncIterator[str]:
    """Answer the first calls as told and all later ones like the last; yield the address."""
    *first, last = answers
    script = itertools.chain(first, itertools.repeat(last))

    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # It was closed while the connection was made.
            writer.close()
            return
        connection = asyncio.create_task(_serve(reader, writer, script))
        # Also of a connection that ends before anybody has served it.
        connection.add_done_callback(lambda _: writer.close())
        connections.add(connection)

    server = await asyncio.start_server(accept, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Iterator[Answer]
) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        await reader.readexactly(PREFACE)
        writer.write(_frame(SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            if kind in (SETTINGS, PING) and not flags & ACK:
                writer.write(_frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                answer = next(script)
                writer.write(b"" if answer.never else _answer(stream, answer))


def _answer(stream: int, answer: Answer) -> bytes:
    # 0x88 stands for `:status: 200` in HPACK's static table (RFC 7541).
    begin = b"\x88" + _field("content-type", "application/grpc")
    if answer.error is not None:
        end = _field("grpc-status", str(int(answer.error))) + _field("grpc-message", answer.text)
        return _frame(HEADERS, END_HEADERS | END_STREAM, stream, begin + end)
    message = b"\0" + len(answer.message).to_bytes(4) + answer.message
    return (
        _frame(HEADERS, END_HEADERS, stream, begin)
        + _frame(DATA, 0, stream, message)
        + _frame(HEADERS, END_HEADERS | END_STREAM, stream, _field("grpc-status", "0"))
    )


def _field(name: str, value: str) -> bytes:
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
