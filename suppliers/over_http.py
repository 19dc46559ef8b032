"""A supplier that is somebody else's service, called over HTTP by the contract in DESIGN.md.

What a call means is decided here and nowhere else. What breaks the contract is an unknown outcome:
logged with the kind and with what was wrong, and never shown to travellers. The token is in no log.
"""

import asyncio
import datetime as dt
import hashlib
import logging
import ssl
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal, NamedTuple
from urllib.parse import quote

import aiohttp
import pydantic
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from shared import BookVacationInput, Kind, cut
from suppliers.port import (
    Confirmed,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    Unavailable,
)

logger = logging.getLogger(__name__)

CONNECT_LIMIT = 5.0
"""Seconds that a connection may take. The whole of a call may take the trip's `try_timeout`."""

READ_LIMIT = 10.0
"""Seconds that the rest of an answer may take once it has begun."""

LARGEST_ANSWER = 64 * 1024
"""Bytes."""

BAD_CREDENTIALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
NOT_FINAL = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that say nothing about what was asked for."""
NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)

NEVER_SENT = (
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
)


class LineCut(aiohttp.ClientError):
    """The connection ended before the answer was whole."""


class _Reservation(pydantic.BaseModel):
    """What a supplier says of a reservation."""

    model_config = pydantic.ConfigDict(strict=True)

    state: Literal["confirmed", "pending", "cancelled"]
    item: str | None = None
    reference: str | None = pydantic.Field(None, min_length=1, max_length=200)


class _Problem(pydantic.BaseModel):
    """What of a problem is meant for people (RFC 9457)."""

    detail: str = pydantic.Field(min_length=1)


class _Answer(NamedTuple):
    status: int
    content: bytes
    media_type: str
    wait: float | None
    """Seconds after which the supplier wants to be asked again."""


class HttpSupplier:
    """Calls one supplier, over connections of its own."""

    def __init__(
        self, kind: Kind, url: str, token: str | None = None, connections: int = 1_000
    ) -> None:
        self.kind = kind
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def book(self, trip: BookVacationInput, attempt: int) -> Confirmed | Pending:
        """PUT the reservation."""
        answer = await self._call("PUT", trip, {"item": trip.item(self.kind)})
        match answer.status:
            case HTTPStatus.OK | HTTPStatus.CREATED | HTTPStatus.ACCEPTED:
                told = self._reservation(trip, answer)
                if isinstance(told, Released):
                    raise Refused(f"The supplier has cancelled the {self.kind}")
                return told
            case status if status in BAD_CREDENTIALS or not _is_final(status):
                raise self._failure(answer)
        raise Refused(_detail(answer) or f"The {self.kind} supplier refused the booking")

    async def cancel(self, trip: BookVacationInput) -> Released | Pending:
        """DELETE the reservation."""
        answer = await self._call("DELETE", trip)
        match answer.status:
            case HTTPStatus.NO_CONTENT | HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
                return Released()
            case HTTPStatus.OK:
                if answer.content and not isinstance(self._reservation(trip, answer), Released):
                    raise self._broken("200 to a DELETE, and it is not cancelled")
                return Released()
            case HTTPStatus.ACCEPTED:
                return Pending(answer.wait)
            case status if status in BAD_CREDENTIALS or not _is_final(status):
                raise self._failure(answer)
        raise Refused(_detail(answer) or f"The {self.kind} supplier refused the cancellation")

    async def find(self, trip: BookVacationInput) -> Confirmed | Pending | Released | None:
        """GET the reservation."""
        answer = await self._call("GET", trip)
        if answer.status == HTTPStatus.OK:
            return self._reservation(trip, answer)
        if answer.status in NOT_THERE:
            return None
        raise self._failure(answer)

    def _reservation(
        self, trip: BookVacationInput, answer: _Answer
    ) -> Confirmed | Pending | Released:
        try:
            told = _Reservation.model_validate_json(answer.content)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise self._broken(f"{where or 'the answer'}: {first['msg']}") from None
        if told.state == "cancelled":
            return Released()
        wanted = trip.item(self.kind)
        if told.item not in (wanted, None):
            raise self._broken("another item than the one that was asked for")
        if told.state == "pending":
            return Pending(answer.wait)
        if told.item is None or told.reference is None:
            raise self._broken("a confirmation without item or reference")
        return Confirmed(told.reference)

    async def _call(
        self, method: str, trip: BookVacationInput, body: object | None = None
    ) -> _Answer:
        """Send a request, and return the answer, whatever its status.

        Raises `Refused`, `Unavailable` when it was not sent, and `OutcomeUnknown`.
        """
        try:
            async with self._opened().request(
                method,
                self._address(trip),
                json=body,
                headers={"Trip-Id": quote(trip.book_user_id), "traceparent": _trace(trip)},
                allow_redirects=False,
            ) as response:
                async with asyncio.timeout(READ_LIMIT):
                    content = await _read(response)
        except NEVER_SENT as error:
            logger.warning("The %s supplier cannot be reached: %s", self.kind, _named(error))
            raise Unavailable(f"The {self.kind} supplier cannot be reached") from None
        except TimeoutError:
            raise self._broken("the answer stopped in the middle") from None
        except aiohttp.ClientError as error:
            raise self._broken(_named(error)) from None
        if content is None:
            raise self._broken(f"an answer of more than {LARGEST_ANSWER} bytes")
        return _Answer(
            response.status,
            content,
            response.content_type,
            _retry_after(response.headers.get("Retry-After")),
        )

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                # Not shared between suppliers: one that is frozen takes no other's connections.
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=[_sent_once],
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _address(self, trip: BookVacationInput) -> URL:
        if trip.book_user_id in (".", ".."):
            # Whoever takes the address apart takes them for folders. RFC 3986, 5.2.4
            raise Refused("A trip of this id cannot be booked")
        return URL(f"{self._url}/reservations/{quote(trip.book_user_id, safe='')}", encoded=True)

    def _failure(self, answer: _Answer) -> Unavailable | OutcomeUnknown:
        """Return what an answer means that says nothing about what was asked for."""
        if answer.status in BAD_CREDENTIALS:
            setting = f"{self.kind.upper()}_SUPPLIER_TOKEN"
            logger.error(
                "The %s supplier refuses our credentials (%d): see %s",
                self.kind,
                answer.status,
                setting,
            )
            return Unavailable(f"The {self.kind} supplier is not available", answer.wait)
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            return self._broken(f"a redirect ({answer.status})")
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return self._broken(f"the status {answer.status}")
        logger.warning("The %s supplier answered %d", self.kind, answer.status)
        busy = answer.status == HTTPStatus.TOO_MANY_REQUESTS
        return OutcomeUnknown(
            f"The {self.kind} supplier {'is busy' if busy else 'failed'}", answer.wait
        )

    def _broken(self, what: str) -> OutcomeUnknown:
        logger.error("The %s supplier broke the contract: %s", self.kind, what)
        return OutcomeUnknown(f"The {self.kind} supplier failed")


async def _sent_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from sending a request again by itself when a connection ends.

    It takes PUT for idempotent, which not every supplier's is.
    https://docs.aiohttp.org/en/stable/client_advanced.html#client-middleware
    """
    try:
        return await handler(request)
    except NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LineCut(type(error).__name__) from error


async def _read(response: ClientResponse) -> bytes | None:
    """Return the content; `None`: it is too large."""
    content = b""
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            response.close()
            return None
    return content


def _is_final(status: int) -> bool:
    """Tell whether a status is a client error that a repetition cannot change."""
    is_client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_client_error and status not in NOT_FINAL


def _detail(answer: _Answer) -> str | None:
    """Return what a problem says to people, if it is one (RFC 9457)."""
    if answer.media_type != "application/problem+json":
        return None
    try:
        detail = _Problem.model_validate_json(answer.content).detail
    except pydantic.ValidationError:
        return None
    return cut(" ".join(detail.split())) or None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    return max((date - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)


def _trace(trip: BookVacationInput) -> str:
    """Return a trace context that is the same for all calls of a trip.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """
    digest = hashlib.sha256(trip.book_user_id.encode(errors="replace")).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-00"


def _named(error: aiohttp.ClientError) -> str:
    """Return what went wrong with a connection, for the logs."""
    cause = getattr(error, "os_error", None) or error
    return type(cause).__name__ if isinstance(cause, ssl.SSLError) else str(cause) or repr(cause)
