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

    def of_bookings(error: BookingsError) -> Response:
        if isinstance(error, BookingDiffers):
            on_key_conflict()
        return _of_bookings(error).response()

    app.register_error_handler(BookingsError, of_bookings)
    app.register_error_handler(RecordError, lambda error: _of_record(error).response())
    app.register_error_handler(UnreadablePayload, lambda error: _unreadable(error).response())


def _of_bookings(error: BookingsError) -> Problem:
    match error:
        case BookingNotFound():
            return Problem(404, "There is no such booking.")
        case BookingDiffers():
            return Problem(422, "This Idempotency-Key was used with another body.")
        case BookingConflict():
            return Problem(409, str(error))
        case UnknownCursor():
            return invalid(FieldError("cursor", "is not a cursor of this list"))
        case TemporalRefuses():
            logger.error("%s %r", error, error.__cause__)
            return Problem(500, str(error))
        case NoWorker():
            return retry_later(503, "No worker of the trip's version answers; try again.")
    logger.error("Temporal cannot be asked: %s", error)
    return retry_later(503, "Temporal cannot be reached; try again.", **_location())


def _of_record(error: RecordError) -> Problem:
    logger.error("%s: %r", error, error.__cause__)
    if isinstance(error, RecordUnavailable):
        return retry_later(503, f"{error}; try again.", **_location())
    return Problem(500, f"{error}; it has been logged.")


def _unreadable(error: UnreadablePayload) -> Problem:
    # This is no outage: only another setting mends a key that is missing.
    logger.error("%s", error)
    return Problem(500, str(error), members=_location())


def _location() -> dict[str, str]:
    """Return where to look for a trip that may have got through before the line broke."""
    return {"location": location_of(g.user_id)} if "user_id" in g else {}
