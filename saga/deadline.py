"""The time until which a trip is booked or undone. Workflow code."""

import datetime as dt

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from shared import SagaPolicy


def goes_on_after_a_reset(question: str) -> bool:
    """Tell whether this run is a reset one, and has come to what it does by itself.

    https://docs.temporal.io/workflow-execution/event#reset. A run that was reset first replays the
    one before. The marker of a patch tells its own part from that. An answer holds for the whole
    run, so that each question must be another one.
    """
    info = workflow.info()
    return info.run_id != info.first_execution_run_id and workflow.patched(
        f"after-reset-{question}"
    )


class TripOverdue(Exception):
    """The trip was not booked until its deadline."""

    def __init__(self) -> None:
        super().__init__("The trip could not be booked in time")


class Deadline:
    """The trip's deadline, and that of a step within it.

    A run that was reset has none: whoever resets it wants it to go on now.
    """

    def __init__(self, policy: SagaPolicy) -> None:
        self._asked = 0
        self._step_limit = dt.timedelta(seconds=policy.step_deadline)
        # Not `start_time`, which is that of the first workflow task: no worker may have been there.
        started = workflow.info().workflow_start_time
        self._end = started + dt.timedelta(seconds=policy.trip_deadline)

    def check(self) -> None:
        """Raise `TripOverdue` when the deadline has passed."""
        if workflow.now() >= self._end and not self._is_lifted():
            raise TripOverdue

    def of_step(self) -> dt.timedelta:
        """Return how long a step that begins now may take."""
        left = self._end - workflow.now()
        if left >= self._step_limit or self._is_lifted():
            return self._step_limit
        return left

    def _is_lifted(self) -> bool:
        self._asked += 1
        return goes_on_after_a_reset(f"deadline-{self._asked}")
