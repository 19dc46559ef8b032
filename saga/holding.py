"""A trip that is held until its traveller confirms it, or its time is up. Workflow code."""

import datetime as dt
from contextlib import suppress
from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from saga.deadline import Expired
from saga.recording import record_hold, record_status

with workflow.unsafe.imports_passed_through():
    from shared import EXPIRED, BookVacationInput, Kind


GRACE = dt.timedelta(minutes=1)
"""A confirm comes in time while the workflow has not seen that the time is up: its worker may have
been away. So long after it, suppliers may hold nothing any more, and it is refused."""


class Hold:
    """Whether a trip is to be held, and until when; without `seconds` it never is."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end: dt.datetime | None = None
        self._confirmed = False
        self._state: Literal["holding", "booking", "over"] = "holding"

    @property
    def is_on(self) -> bool:
        """Whether the trip's steps are to be held, and not yet to be booked."""
        return self._seconds is not None and self._state == "holding"

    def confirm(self) -> None:
        """Have what is held booked. Asking again changes nothing."""
        self._confirmed = True

    def require(self) -> None:
        """Raise `ApplicationError` if it is too late to confirm the trip.

        It is not too early: the record may tell that a trip is held before its workflow knows it.
        """
        if self._seconds is None:
            raise ApplicationError("The trip is not to be held", type="NotHeld")
        is_late = self._end is not None and workflow.now() > self._end + GRACE
        is_over = self._state == "over" or (is_late and not self._confirmed)
        if is_over or workflow.cancellation_reason() is not None:
            raise ApplicationError("The trip is not held any more", type="NotHeld")

    def close(self) -> None:
        """Hold nothing any more: the trip goes back."""
        self._state = "over"

    async def until_confirmed(
        self, book_input: BookVacationInput, began: dt.datetime
    ) -> list[Kind]:
        """Hold the trip until it is confirmed; return the kinds that nobody holds.

        It is held for its time from its beginning, or until the first of its suppliers releases it.
        Raises `Expired`, and what a cancelled workflow raises.
        """
        # Older trips tell the record of their confirm themselves, before Temporal keeps it.
        told_once_kept = workflow.patched("confirm-is-told-once-kept")
        gone = (workflow.now() - began).total_seconds()
        told = await record_hold(book_input, began, (self._seconds or 0.0) - gone)
        self._end = workflow.now() + dt.timedelta(seconds=told.seconds)
        self._confirmed |= told.confirmed
        # A confirm that is accepted while the timer fires has come in time.
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._confirmed,
                timeout=told.seconds,
                timeout_summary="Until the hold expires",
            )
        if not self._confirmed:
            raise Expired(EXPIRED)
        if not told_once_kept:
            await record_status(book_input, began, "running")
        self._state = "booking"
        return told.quoted
