"""Translates every error into a problem: those of `bookings`, of the record, of encryption."""

import logging
from collections.abc import Callable

from flask import Flask, Response, g

from api.answering import location_of
from api.problems import FieldError, Problem, install, invalid, retry_later
from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    NoWorker,
    RecordError,
    RecordUnavailable,
    TemporalRefuses,
    UnknownCursor,
    UnreadablePayload,
)

logger = logging.getLogger(__name__)


def install_errors(app: Flask, on_key_conflict: Callable[[], object]) -> None:
    """Answer every error of the app with a problem.

    `on_key_conflict` is called when an idempotency key was used with another body.
    """
    install(app)

    def answer(error: Exception) -> Response:
        if isinstance(error, BookingDiffers):
            on_key_conflict()
        return _problem_of(error).response()

    for known in (BookingsError, RecordError, UnreadablePayload):
        app.register_error_handler(known, answer)


def _problem_of(error: Exception) -> Problem:
    match error:
        case BookingNotFound():
            return Problem(404, "There is no such booking.")
        case BookingDiffers():
            return Problem(422, "This Idempotency-Key was used with another body.")
        case BookingConflict():
            return Problem(409, str(error))
        case UnknownCursor():
            return invalid(FieldError("cursor", "is not a cursor of this list"))
        case NoWorker():
            return retry_later(503, "No worker of the trip's version answers; try again.")
    logger.error("%s: %r", error, error.__cause__)
    match error:
        case TemporalRefuses():
            return Problem(500, str(error))
        case UnreadablePayload():
            # This is no outage: only another setting mends a key that is missing.
            return Problem(500, str(error), members=_location())
        case RecordUnavailable():
            return retry_later(503, f"{error}; try again.", **_location())
        case RecordError():
            return Problem(500, f"{error}; it has been logged.")
    return retry_later(503, "Temporal cannot be reached; try again.", **_location())


def _location() -> dict[str, str]:
    """Return where to look for a trip that may have got through before the line broke."""
    return {"location": location_of(g.user_id)} if "user_id" in g else {}
