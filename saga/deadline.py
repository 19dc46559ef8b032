"""The time until which a trip is booked or undone. Workflow code."""

import datetime as dt

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from shared import BookVacationInput

TRIP_DEADLINE = "trip-deadline"
"""Guards the deadline, which trips of earlier versions have not."""


LIFTED = "deadline-lifted-by-reset"
"""Tells a run that was reset whether it goes on by itself, or replays what went before."""


def was_reset() -> bool:
    """Tell whether this run is a reset of an earlier one.

    https://docs.temporal.io/workflow-execution/event#reset
    """
    info = workflow.info()
    return info.run_id != info.first_execution_run_id


class TripOverdue(Exception):
    """The trip was not booked until its deadline."""

    def __init__(self) -> None:
        super().__init__("The trip could not be booked in time")


class Deadline:
    """The trip's deadline, and that of a step within it.

    For a run that was reset the trip has none: whoever resets it wants it to go on now. But what
    the run replays of the one before went by it.
    """

    def __init__(self, book_input: BookVacationInput) -> None:
        # The record has accepted no trip of an earlier version, so an accepted one needs no marker.
        self._kept = book_input.accepted or workflow.patched(TRIP_DEADLINE)
        self._asks_what_is_replayed = book_input.policy.mechanism >= 2
        self._asked = 0
        self._step_limit = dt.timedelta(seconds=book_input.policy.step_deadline)
        limit = dt.timedelta(seconds=book_input.policy.trip_deadline)
        # Not `start_time`, which is that of the first workflow task: no worker may have been there.
        self._end = workflow.info().workflow_start_time + limit

    def check(self) -> None:
        """Raise `TripOverdue` when the deadline has passed."""
        if self._kept and workflow.now() >= self._end and not self._is_lifted():
            raise TripOverdue

    def of_step(self) -> dt.datetime:
        """Return when a step that begins now must be over."""
        own = workflow.now() + self._step_limit
        return min(own, self._end) if self._kept and not self._is_lifted() else own

    def _is_lifted(self) -> bool:
        if not self._asks_what_is_replayed or not was_reset():
            return was_reset()
        # An answer holds for good, so that each question is another one.
        self._asked += 1
        return workflow.patched(f"{LIFTED}-{self._asked}")
