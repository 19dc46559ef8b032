"""The time until which a trip is booked or undone. Workflow code."""

import datetime as dt

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from shared import BookVacationInput

TRIP_DEADLINE = "trip-deadline"
"""Guards the deadline, which trips of earlier versions have not."""


class TripOverdue(Exception):
    """The trip was not booked until its deadline."""

    def __init__(self) -> None:
        super().__init__("The trip could not be booked in time")


class Deadline:
    """The trip's deadline, and that of a step within it. A reset begins it anew."""

    def __init__(self, book_input: BookVacationInput) -> None:
        self._policy = book_input.policy
        # The record has accepted no trip of an earlier version, so those need no marker.
        self._kept = book_input.accepted or workflow.patched(TRIP_DEADLINE)
        info = workflow.info()
        reset_to_its_start = info.run_id != info.first_execution_run_id
        self._begin(workflow.now() if reset_to_its_start else info.start_time)
        # Only a reset to a later moment gives an open workflow another seed.
        workflow.register_random_seed_callback(lambda _: self._begin(workflow.now()))

    def check(self) -> None:
        """Raise `TripOverdue` when the deadline has passed."""
        if self._kept and workflow.now() >= self._end:
            raise TripOverdue

    def of_step(self) -> dt.datetime:
        """Return when a step that begins now must be over."""
        own = workflow.now() + dt.timedelta(seconds=self._policy.step_deadline)
        return min(own, self._end) if self._kept else own

    def _begin(self, now: dt.datetime) -> None:
        self._end = now + dt.timedelta(seconds=self._policy.trip_deadline)
