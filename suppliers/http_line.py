"""The line to somebody else's service: it sends a request once and returns a whole, bounded answer.

It knows nothing of trips or of the meaning of an answer. Its exceptions go to the logs, so they
contain neither the service's text nor our headers.
"""

import asyncio
import datetime as dt
import re
import select
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from aiohttp.connector import Connection
from yarl import URL

from shared import http_date, retry_after

CONNECT_LIMIT = 5.0
"""Seconds that a connection may take. The caller limits the whole call."""

READ_LIMIT = 10.0
"""Seconds that the rest of an answer may take once it has begun."""

KEPT_IDLE = 1.0
"""Seconds that an idle connection is kept. Services close it after two (gunicorn), five (Apache) or
more, and a request that is sent in that moment is lost."""

LINES_TRIED = 3
"""A request is sent on another connection if it was not sent on the first two."""

LARGEST_ANSWER = 64 * 1024
"""Bytes."""


class NotSent(Exception):
    """The request has not been sent."""


class NoAnswer(Exception):
    """The request may have been sent and served, but no whole answer came."""


class Answer(NamedTuple):
    """A whole answer of the service."""

    status: int
    content: bytes
    media_type: str
    wait: float | None
    """Seconds after which the service wants to be asked again."""
    date: dt.datetime | None = None
    """When the service has answered, by its own clock."""


class _LineCut(aiohttp.ClientError):
    """The connection has ended. After this error aiohttp does not send again."""


class _LineNotClean(aiohttp.ClientError):
    """Nothing was sent: the connection is closed, or has an answer on it that nobody asked for."""


NEVER_SENT = (
    _LineNotClean,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
)


class HttpLine:
    """Connections to one service, kept for later calls. Each request has the `headers`.

    With a `proxy` they lead through it.
    """

    def __init__(
        self, headers: Mapping[str, str], connections: int, proxy: str | None = None
    ) -> None:
        self._proxy = proxy
        self._headers = headers
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, url: URL, headers: Mapping[str, str], body: object) -> Answer:
        """Send a request, with `body` as JSON if there is one, and return the answer.

        Raises `NotSent` and `NoAnswer`.
        """
        begun = ""
        try:
            async with self._opened().request(
                method, url, json=body, headers=headers, allow_redirects=False
            ) as response:
                media_type = _media_type(response.content_type)
                begun = f" (status {response.status}), {media_type}"
                async with asyncio.timeout(READ_LIMIT):
                    content = await _read(response)
                if content is not None:
                    wait = retry_after(response.headers.get("Retry-After"))
                    date = http_date(response.headers.get("Date"))
                    return Answer(response.status, content, media_type, wait, date)
            failure: Exception = NoAnswer(f"an answer of more than {LARGEST_ANSWER} bytes{begun}")
        except NEVER_SENT as error:
            failure = NotSent(_named(error))
        except TimeoutError:
            failure = NoAnswer(f"the answer stopped in the middle{begun}")
        except aiohttp.ClientError as error:
            failure = NoAnswer(_named(error) + begun)
        # Not raised above: there aiohttp's error, which has our headers, would become its context.
        raise failure

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Services do not share connections, so a frozen one takes none from another.
                connector=aiohttp.TCPConnector(
                    limit=self._connections, keepalive_timeout=KEPT_IDLE
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_Request,
                middlewares=[_sent_once],
                auto_decompress=False,
                trust_env=False,
                proxy=self._proxy,
            )
        return self._session


class _Request(ClientRequest):
    """A request that is not sent on a connection that is closed, or has an earlier answer on it.

    aiohttp keeps what a service says on an idle connection, and hands it to the next request there.
    It knows of a closed one only after the event loop has looked.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        if conn.protocol is None or conn.protocol.should_close or _has_ended(conn):
            raise _LineNotClean
        return await super().send(conn)


def _has_ended(conn: Connection) -> bool:
    """Tell whether the service has closed a connection, as the operating system knows."""
    transport = conn.transport
    if transport is None or not hasattr(select, "POLLRDHUP"):  # Only Linux has it.
        return transport is None
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


async def _sent_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a request once: again only if nothing of it was sent.

    aiohttp sends it again by itself when a connection ends. It takes PUT for idempotent, and not
    every service's PUT is.
    https://docs.aiohttp.org/en/stable/client_advanced.html#client-middleware
    """
    for _ in range(LINES_TRIED - 1):
        try:
            return await _sent_to_its_end(request, handler)
        except _LineNotClean:
            await asyncio.sleep(0)  # The event loop sees which other connections have ended.
    return await _sent_to_its_end(request, handler)


async def _sent_to_its_end(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LineCut from error


async def _read(response: ClientResponse) -> bytes | None:
    """Return the content; `None`: it is too large."""
    content = b""
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            return None
    return content


def _media_type(value: str) -> str:
    """Return a media type that may go to the logs."""
    return value if re.fullmatch(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", value) else "?"


def _named(error: aiohttp.ClientError) -> str:
    """Return what went wrong, in the words of the operating system or of TLS only."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error) or type(error.os_error).__name__
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    return type(error.__cause__ or error).__name__
