"""A supplier that is called over HTTP, by the contract in `docs/suppliers.md`.

This file alone decides what an answer means. An answer that breaks the contract, or that is not the
supplier's own JSON, is an unknown outcome; the log says what was wrong with it. No log has the
token.
"""

import datetime as dt
import json
import logging
import re
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote

import pydantic
from yarl import URL

from shared import KINDS, BookVacationInput, Kind, Price, cut
from suppliers.http_line import Answer, HttpLine, NoAnswer, NotSent
from suppliers.port import (
    AnotherItem,
    Booking,
    Confirmed,
    Held,
    OutcomeUnknown,
    Pending,
    Quoted,
    Refused,
    Released,
    Unavailable,
)

logger = logging.getLogger(__name__)

NOT_FINAL = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""Client errors that say nothing about the reservation."""

MOST_CONNECTIONS = 1_000
"""The most connections to one supplier: a worker has so many tries of a kind under way."""

OTHER_FILES = 100
"""Files that a process has open for Temporal, the record, the event loop and so on."""

CLOCKS_DIFFER = dt.timedelta(minutes=1)
"""What a supplier's clock and ours may differ by. It is asked to hold for so much longer."""

NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)

PROBLEM = "application/problem+json"


READABLE = r"^[^\p{Cc}\p{Cf}]*[^\p{Cc}\p{Cf}\s][^\p{Cc}\p{Cf}]*$"
"""What people can read out: something that is seen, without characters that control or turn text.
Not every database keeps these."""


class _Reservation(pydantic.BaseModel):
    """What a supplier says of a reservation."""

    model_config = pydantic.ConfigDict(strict=True)

    state: Literal["confirmed", "held", "quoted", "pending", "cancelled"]
    item: str | None = None
    reference: str | None = pydantic.Field(None, max_length=200, pattern=READABLE)
    expires_at: pydantic.AwareDatetime | None = None
    price: Price | None = None
    refund: Price | None = None


@dataclass
class Call:
    """A call as a follower sees it, without anything about the traveller."""

    trip_id: str
    method: str
    url: URL
    headers: dict[str, str]
    """A follower may add to them; the token is not among them."""
    status: int | None = None
    """The status of the answer, once there is one."""


FollowCall = Callable[[Call], AbstractContextManager[object]]
"""Surrounds a call, for example to trace it."""


class HttpSupplier:
    """Calls one supplier over its own connections."""

    def __init__(
        self,
        kind: Kind,
        url: str,
        token: str | None = None,
        connections: int | None = None,
        follow_call: FollowCall = nullcontext,
        proxy: str | None = None,
    ) -> None:
        self.kind = kind
        self._follow_call = follow_call
        self._url = str(URL(url)).rstrip("/")
        self._token = token
        headers = {
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity",
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._line = HttpLine(headers, connections or _connections_that_fit(), proxy)

    async def close(self) -> None:
        """Close the connections."""
        await self._line.close()

    async def book(self, trip: BookVacationInput, attempt: int) -> Booking:
        """PUT the reservation."""
        if not (_can_be_sent(trip.book_user_id) and _is_text(trip.item(self.kind) or "")):
            raise Refused(f"The {self.kind} cannot be booked under this id")
        wanted: dict[str, object] = {"item": trip.item(self.kind)}
        if trip.hold_seconds:
            held_for = dt.timedelta(seconds=trip.hold_seconds) + CLOCKS_DIFFER
            until = dt.datetime.now(dt.UTC) + held_for
            wanted["hold_until"] = until.isoformat(timespec="seconds")
        answer = await self._call("PUT", trip, wanted)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise self._no(trip, answer, "booking")
        told = self._reservation(trip, answer)
        if isinstance(told, Released):
            raise Refused(f"The supplier has cancelled the {self.kind}")
        return told

    async def confirm(self, trip: BookVacationInput) -> Confirmed | Pending:
        """POST that what is held is to be booked."""
        answer = await self._call("POST", trip, to="/confirm")
        if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise self._no(trip, answer, "confirmation")
        told = self._reservation(trip, answer)
        if not isinstance(told, Confirmed | Pending):
            raise self._broken(trip, "what is neither confirmed nor pending after a POST")
        return told

    async def cancel(self, trip: BookVacationInput) -> Released | Pending:
        """DELETE the reservation."""
        if not _can_be_sent(trip.book_user_id):
            return Released()  # Nothing has been booked, and nothing ever will be.
        answer = await self._call("DELETE", trip)
        match answer.status:
            case HTTPStatus.NO_CONTENT:
                return Released()
            case HTTPStatus.OK:
                told = self._reservation(trip, answer)
                if not isinstance(told, Released):
                    raise self._broken(trip, "200 to a DELETE, and it is not cancelled")
                return told
            case HTTPStatus.ACCEPTED if not answer.content or _told(answer) is not None:
                return Pending(answer.wait)
            case HTTPStatus.NOT_FOUND | HTTPStatus.GONE if _told(answer) is not None:
                return Released()
        raise self._no(trip, answer, "cancellation")

    async def find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        """GET the reservation."""
        if not _can_be_sent(trip.book_user_id):
            return None
        answer = await self._call("GET", trip)
        if answer.status == HTTPStatus.OK:
            told = self._reservation(trip, answer)
            return None if isinstance(told, Quoted) else told
        if answer.status in NOT_THERE and _told(answer) is not None:
            return None
        raise self._failure(trip, answer)

    def _reservation(self, trip: BookVacationInput, answer: Answer) -> Booking | Released:
        try:
            told = _Reservation.model_validate_json(answer.content)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            what = f"{where or f'{answer.status} {answer.media_type}'}: {first['msg']}"
            raise self._broken(trip, what) from None
        if told.state == "cancelled":
            return Released(told.refund)
        wanted = trip.item(self.kind)
        if told.item not in (wanted, None):
            failure = self._broken(trip, "another item than the one that was asked for")
            raise AnotherItem(str(failure))
        if told.state == "pending":
            return Pending(answer.wait)
        if told.state == "quoted":
            return Quoted(told.price)
        if told.state == "held":
            if told.item is None or told.expires_at is None:
                raise self._broken(trip, "a hold without item or expires_at")
            # By the supplier's clock alone, which tells whole seconds: this one may be nearly over.
            # Without its time by ours, which may be that much ahead.
            now = answer.date or dt.datetime.now(dt.UTC) + CLOCKS_DIFFER
            left = (told.expires_at - now).total_seconds() - (1 if answer.date else 0)
            return Held(max(left, 0.0), told.price)
        if told.item is None or told.reference is None:
            raise self._broken(trip, "a confirmation without item or reference")
        return Confirmed(told.reference, told.price)

    async def _call(
        self, method: str, trip: BookVacationInput, body: object | None = None, to: str = ""
    ) -> Answer:
        """Send a request, and return the answer, unless the supplier refuses our credentials.

        Raises `Unavailable` and `OutcomeUnknown`.
        """
        trip_id = quote(trip.book_user_id, safe="")
        url = URL(f"{self._url}/reservations/{trip_id}{to}", encoded=True)
        call = Call(trip.book_user_id, method, url, {"Trip-Id": trip_id})
        try:
            with self._follow_call(call):
                answer = await self._line.ask(method, url, call.headers, body)
                call.status = answer.status
        except NotSent as error:
            self._log(logging.WARNING, trip, "cannot be reached: %s", error)
            raise Unavailable(f"The {self.kind} supplier cannot be reached") from None
        except NoAnswer as error:
            raise self._broken(trip, str(error)) from None
        if not _is_let_in(answer):
            setting = f"{self.kind.upper()}_SUPPLIER_TOKEN"
            about = "refuses our credentials (%d): see %s"
            self._log(logging.ERROR, trip, about, answer.status, setting)
            raise Unavailable(f"The {self.kind} supplier is not available", answer.wait)
        return answer

    def _no(self, trip: BookVacationInput, answer: Answer, what: str) -> Refused | OutcomeUnknown:
        """Return the meaning of an error that answers a booking or a cancellation."""
        is_client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        told = _told(answer)
        if told is None or not is_client_error or answer.status in NOT_FINAL:
            return self._failure(trip, answer)
        words = self._words(told.get("detail")) if answer.media_type == PROBLEM else None
        return Refused(words or f"The {self.kind} supplier refused the {what}")

    def _failure(self, trip: BookVacationInput, answer: Answer) -> OutcomeUnknown:
        """Return the meaning of an answer that says nothing about the reservation."""
        if answer.status < HTTPStatus.BAD_REQUEST:
            return self._broken(trip, f"the status {answer.status} {answer.media_type}")
        about = "answered %d: %s (%s)"
        self._log(logging.WARNING, trip, about, answer.status, _id(trip), answer.media_type)
        what = "is busy" if answer.status == HTTPStatus.TOO_MANY_REQUESTS else "failed"
        return OutcomeUnknown(f"The {self.kind} supplier {what}", answer.wait)

    def _broken(self, trip: BookVacationInput, what: str) -> OutcomeUnknown:
        self._log(logging.ERROR, trip, "broke the contract with %s: %s", _id(trip), what)
        return OutcomeUnknown(f"The {self.kind} supplier failed")

    def _log(self, level: int, trip: BookVacationInput, what: str, *values: object) -> None:
        about = {"trip_id": trip.book_user_id}
        logger.log(level, f"The %s supplier {what}", self.kind, *values, extra=about)

    def _words(self, detail: object) -> str | None:
        """Return the words of a problem that are meant for people (RFC 9457)."""
        if not isinstance(detail, str) or (self._token and self._token in detail):
            return None
        printable = "".join(letter if letter.isprintable() else " " for letter in detail)
        return cut(" ".join(printable.split())) or None


def _told(answer: Answer) -> dict[str, object] | None:
    """Return the JSON object in an answer; `None`: the supplier's own program has not answered.

    Gateways and firewalls answer with pages, with plain text or with nothing.
    """
    try:
        told = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _is_let_in(answer: Answer) -> bool:
    """Tell whether an answer is not about our credentials. A firewall says 403 with a page."""
    is_page = answer.content and not answer.media_type.endswith("json")
    return answer.status != HTTPStatus.UNAUTHORIZED and (
        answer.status != HTTPStatus.FORBIDDEN or bool(is_page)
    )


def _connections_that_fit() -> int:
    """Return how many connections one of the suppliers may have under the limit of open files.

    A call waits for a free connection. Without a file for its connection it would fail.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(max((soft - OTHER_FILES) // len(KINDS), 1), MOST_CONNECTIONS)


def _can_be_sent(trip_id: str) -> bool:
    """Tell whether an id can be the last part of an address, and cannot be taken for more.

    A program that takes the address apart, perhaps after decoding it, reads `.` and `..` as folders
    (RFC 3986, 5.2.4). An empty id would make the address of all reservations.
    """
    return _is_text(trip_id) and not {"", ".", ".."} & set(re.split(r"[/\\]", trip_id))


def _is_text(value: str) -> bool:
    """Tell whether a text has no half characters (surrogates), which JSON does not define."""
    return not re.search(r"[\ud800-\udfff]", value)


def _id(trip: BookVacationInput) -> str:
    """Return a trip's id, on one line, for the logs."""
    return ascii(cut(trip.book_user_id))
