"""The base of a trip's workflow: how a step is booked, and what the world may ask.

`workflows.py` tells the story; this keeps the promises beneath it. Workflow code: no clock, no
randomness, no I/O, no environment.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, RetryState, is_cancelled_exception

from saga.deadline import Deadline, was_reset
from saga.failures import (
    FINAL,
    LOST,
    LOST_TRY,
    NO_ANSWER,
    UNREAD,
    Question,
    attempts_told,
    question_in,
    root_cause,
    was_lost,
    was_unread,
)
from saga.progress import Progress
from saga.steps import Step, retry_policy, run_try
from saga.undoing import Undoing, to_its_end

with workflow.unsafe.imports_passed_through():
    from shared import (
        BookVacationInput,
        StepProgress,
        Tried,
        TripProgress,
        TripStatus,
        cut,
        steps_as_json,
    )


class Saga(Undoing):
    """The base of a trip's workflow: its steps, its compensations, what the world may ask."""

    def __init__(
        self,
        book_input: BookVacationInput,
        steps: Sequence[Step],
        so_far: Sequence[StepProgress] = (),
    ) -> None:
        # A trip has the steps that it started with: it wants nothing of a kind that came later.
        wanted = [(step.kind, book_input.item(step.kind)) for step in steps]
        progress = {kind: StepProgress(kind, item) for kind, item in wanted if item is not None}
        progress |= {step.kind: step for step in so_far if step.kind in progress}
        super().__init__(book_input, Progress(progress))
        if was_reset():
            self._begun_before.extend(step for step in steps if self.has(step))
        self._deadline = Deadline(self._input)

    async def book(self, step: Step) -> None:
        """Book one step, if the trip wants anything of its kind.

        Raises `ActivityError` when the step cannot be booked or the workflow is cancelled, and
        `TripOverdue` when the trip's deadline has passed.
        """
        progress = self._progress.steps.get(step.kind)
        if progress is None:
            return
        self._deadline.check()
        # Before the step runs: even a try that only seems to fail may have booked.
        self._compensations.append(step)
        if self._is_cancelled():
            raise asyncio.CancelledError
        tried = await self._book_until_answered(step, progress)
        if tried is not None:
            progress.attempts = tried.attempt
            progress.last_error = tried.last_error or progress.last_error
            progress.reference = tried.reference
        progress.held = True
        self._progress.move(step.kind, "booked")

    async def _book_until_answered(self, step: Step, progress: StepProgress) -> Tried | None:
        """Try a step until its supplier has the last word, and return what the activity tells.

        A try that was lost with its worker ends the activity; then another one tries on, and the
        lost try costs no attempt. Neither does one that a supplier has not decided yet: it goes on
        after a while.

        One that its worker could not read Temporal retries within the activity, like a failure of
        the supplier's, so there it does cost an attempt; its failure has no type by which a retry
        policy could know it. Only as the last one it costs none: then another activity tries on
        after a while, and has all attempts again, because nobody tells how many of them had failed.
        """
        deadline = self._deadline.of_step()
        attempts = self._input.attempts
        while True:
            earlier = progress.attempts
            progress.attempts += 1
            self._progress.move(step.kind, "booking")
            try:
                return await run_try(
                    step.book,
                    dataclasses.replace(self._input, earlier_tries=earlier),
                    activity_id=self._next_id(step.book),
                    summary=f"Book {step.kind} {cut(progress.item)}",
                    schedule_to_close=deadline - workflow.now(),
                    retry_policy=retry_policy(self._input, attempts, *FINAL, *LOST_TRY),
                )
            except ActivityError as error:
                if is_cancelled_exception(error) or self._is_cancelled():
                    raise
                if question := self._in_time(question_in(error), deadline):
                    attempts -= question.attempt - 1 - earlier
                    progress.attempts = question.attempt - 1
                    progress.last_error = question.last_error or progress.last_error
                    await workflow.sleep(question.wait, summary=f"Ask again about the {step.kind}")
                    if workflow.now() < deadline:
                        continue
                failed = attempts_told(error)
                pause = self._pause_after(error, deadline)
                if pause is None:
                    progress.last_error = root_cause(error)
                    exhausted = error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
                    progress.attempts = failed or earlier + (attempts if exhausted else 1)
                    self._progress.move(step.kind, "failed")
                    if progress.last_error == NO_ANSWER:
                        self._deadline.check()
                    raise
                failed = failed or earlier
                progress.attempts, progress.last_error = failed + 1, UNREAD if pause else LOST
                attempts -= failed - earlier
                workflow.logger.warning(
                    "Try %d to book %s was lost; it is tried again", failed + 1, step.kind
                )
                if pause:
                    await workflow.sleep(pause, summary=f"Try again to book {step.kind}")

    def _is_cancelled(self) -> bool:
        """Tell whether the workflow was cancelled while a try ended.

        The SDK raises either of both. Which one differs where the worker has run ahead of its task.
        """
        return self._input.policy.mechanism >= 2 and workflow.cancellation_reason() is not None

    def _pause_after(self, error: ActivityError, deadline: dt.datetime) -> dt.timedelta | None:
        """Return how long to wait after a try which nobody has failed; `None`: it was failed.

        What one worker cannot read perhaps none can, until somebody has set their keys right.
        """
        policy = self._input.policy
        # Trips of an earlier mechanism, which replay, took it for their supplier's failure.
        unread = policy.mechanism >= 3 and was_unread(error)
        if not (unread or was_lost(error)):
            return None
        seconds = policy.retry_interval_cap if unread else 0
        pause = dt.timedelta(seconds=seconds)
        return pause if workflow.now() + pause < deadline else None

    def _in_time(self, question: Question | None, deadline: dt.datetime) -> Question | None:
        """Return the question if it can be asked before the deadline."""
        if question is None or workflow.now() + question.wait >= deadline:
            return None
        return question

    def has(self, step: Step) -> bool:
        """Tell whether the trip wants anything of the step's kind."""
        return step.kind in self._progress.steps

    @property
    def booked_items(self) -> dict[str, str]:
        """What the trip has booked, as its result tells it."""
        return {
            f"booked_{kind}": step.item
            for kind, step in self._progress.steps.items()
            if step.state == "booked"
        }

    async def close(self, status: TripStatus, reason: str | None = None) -> list[dict[str, Any]]:
        """Tell the record how the trip ended and return its steps, for the workflow's result.

        So nobody learns of an ending that is not recorded. A cancel that comes meanwhile interrupts
        only the ending of a booked trip, which then raises `ActivityError`.
        """
        self._progress.set_status(status)
        telling = self._tell_record(status, reason)
        await (telling if status == "booked" else to_its_end(telling))
        return steps_as_json(self._progress.steps.values())

    @workflow.query
    def progress(self) -> TripProgress:
        """Return the trip's status and how far each step has come."""
        return TripProgress(self._progress.status, list(self._progress.steps.values()))

    @workflow.signal(dynamic=True)
    def ignore(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Ignore a signal, whatever its name and inputs: a trip takes none.

        Without this a malformed signal of a known name would fail every further workflow task.
        Trips of the first version have signals in their histories.
        """
        workflow.logger.warning("Ignored the signal %s", cut(name))
