"""The time until which a trip is booked or undone, and what a reset does to it. Workflow code."""

import datetime as dt

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from shared import SagaPolicy


class Reset:
    """Tells whether this run is a reset one, and has come to what it does by itself.

    https://docs.temporal.io/workflow-execution/event#reset. A run that was reset first replays the
    run before, and gets a new random seed exactly where its own part begins. The ids of the runs
    would not do, because the SDK's `Replayer` tells a reset run that of the run before.
    """

    def __init__(self) -> None:
        self._seed = workflow.random_seed()
        # A run that was reset to its first task has the new seed from the start. Its worker sees
        # that by the ids, and a marker tells it to each replay.
        info = workflow.info()
        may_be_one = info.run_id != info.first_execution_run_id or workflow.unsafe.is_replaying()
        self._at_its_start = may_be_one and workflow.patched("reset-at-its-start")

    @property
    def is_behind(self) -> bool:
        """Whether what runs now comes after a reset."""
        return self._at_its_start or workflow.random_seed() != self._seed


class TripOverdue(Exception):
    """The trip was not booked until its deadline."""


class Expired(TripOverdue):
    """The trip was held, and nobody has confirmed it in time."""


class Deadline:
    """The trip's deadline, and that of a step within it.

    A run that was reset has none: whoever resets it wants it to go on now.
    """

    def __init__(self, policy: SagaPolicy, reset: Reset, began: dt.datetime) -> None:
        self._reset = reset
        self._step_limit = dt.timedelta(seconds=policy.step_deadline)
        self._end = began + dt.timedelta(seconds=policy.trip_deadline)

    def check(self) -> None:
        """Raise `TripOverdue` when the deadline has passed."""
        if workflow.now() >= self._end and not self._reset.is_behind:
            raise TripOverdue("The trip could not be booked in time")

    def of_step(self) -> dt.timedelta:
        """Return how long a step that begins now may take."""
        if self._reset.is_behind:
            return self._step_limit
        return min(self._step_limit, self._end - workflow.now())
