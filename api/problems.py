"""Errors as values that a client can act on: `application/problem+json`, RFC 9457.

Every error that leaves the API is a `Problem`; nothing internal leaks through one.
"""

import http
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, current_app, g, json, request
from werkzeug.exceptions import HTTPException

from api.answering import location_of
from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    EventNotFound,
    NoWorker,
    RecordError,
    RecordUnavailable,
    TemporalRefuses,
    UnknownCursor,
    UnreadablePayload,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
CHALLENGE = 'Bearer realm="trip-booking"'
"""What a 401 carries in `WWW-Authenticate`."""

SECURITY_HEADERS = {
    # Nothing here is to be sniffed, framed, cached or sent on as a referrer, and nothing loads
    # anything. https://owasp.org/www-project-secure-headers/
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

MEANING = {
    400: "The body, a header or a parameter is bad; `errors` names each. Or it is no HTTP.",
    401: "No valid API key was sent.",
    403: "The API key does not allow this, or a page of another site sent it.",
    404: "There is no such booking or event, or it is not yours.",
    405: "The resource does not have this method.",
    409: "The booking's state does not allow this.",
    413: "The body is over 16 KiB.",
    415: "The body is not application/json in UTF-8.",
    421: "The service is not asked under this host name (`ALLOWED_HOSTS`).",
    422: "The idempotency key was used with another body.",
    429: "Too many requests are under way, of all callers or of this one, it books too often, or "
    "too many wrong API keys came from its address; try again.",
    431: "The request line and the headers are over 16 KiB.",
    500: "The service failed; it has been logged.",
    501: "The service does not know this transfer coding.",
    503: "Temporal or a worker cannot be reached, or the service is busy; try again.",
}
"""What each problem's status means, as the OpenAPI document says it."""


WORDING = {
    "extra_forbidden": "is not known here",
    "missing": "is required",
    "model_type": "must be a JSON object",
    "string_too_short": "must not be empty",
    "string_unicode": "must not contain lone surrogates",
}
"""What is said instead of pydantic's own words, by the type of its error."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of the input; `field` is empty for the input as a whole."""

    field: str
    message: str


@dataclass
class Problem(Exception):
    """An error as the client is to see it."""

    status: int
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    """Extension members (RFC 9457, section 3.2)."""

    def body(self) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = [vars(error) for error in self.errors]
        return body

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        return Response(
            json.dumps(self.body()),
            status=self.status,
            mimetype=MEDIA_TYPE,
            headers=dict(self.headers),
        )


def invalid(*errors: FieldError) -> Problem:
    """Return the problem of a bad request, which names each bad field."""
    detail = "; ".join(f"{error.field}: {error.message}".removeprefix(": ") for error in errors)
    return Problem(400, detail, errors)


def retry_later(status: int, detail: str, **members: str) -> Problem:
    """Return the problem of what may well succeed in a moment."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(status, detail, headers=headers, members=members)


def install_errors(app: Flask, on_key_conflict: Callable[[], object]) -> None:
    """Answer every error of the app with a problem.

    `on_key_conflict` is called when an idempotency key was used with another body.
    """

    def answer(error: Exception) -> Response:
        if isinstance(error, BookingDiffers):
            on_key_conflict()
        return _problem_of(error).response()

    app.register_error_handler(Exception, answer)
    app.after_request(_add_security_headers)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException():
            # Werkzeug names what is allowed in headers of its own (`Allow` with 405).
            headers = {name: value for name, value in error.get_headers() if name == "Allow"}
            detail = MEANING[413] if error.code == 413 else error.description or ""
            return Problem(error.code or 500, detail, headers=headers)
        case BookingNotFound():
            return Problem(404, "There is no such booking.")
        case EventNotFound():
            return Problem(404, "There is no such event.")
        case BookingDiffers():
            return Problem(422, "This Idempotency-Key was used with another body.")
        case BookingConflict():
            return Problem(409, str(error))
        case UnknownCursor():
            return invalid(FieldError("cursor", "is not a cursor of this list"))
        case NoWorker():
            return retry_later(503, "No worker of the trip's version answers; try again.")
        case BookingsError() | RecordError() | UnreadablePayload():
            logger.error("%s: %r", error, error.__cause__)
            return _problem_behind(error)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return Problem(500, "The service failed to handle this request; it has been logged.")


def _problem_behind(error: Exception) -> Problem:
    """Return the problem of what the service needs and cannot use."""
    # Where to look for a trip that may have got through before the line broke.
    location = (
        {"location": location_of(g.user_id, current_app.extensions["options"])}
        if "user_id" in g
        else {}
    )
    match error:
        case TemporalRefuses() | UnreadablePayload():
            # This is no outage: only another setting mends it.
            return Problem(500, str(error), members=location)
        case RecordUnavailable():
            return retry_later(503, f"{error}; try again.", **location)
        case RecordError():
            return Problem(500, f"{error}; it has been logged.")
    return retry_later(503, "Temporal cannot be reached; try again.", **location)


def _add_security_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
