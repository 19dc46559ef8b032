"""Compensation: undo what was begun, the last step first, and repair an undo that is stuck.

Workflow code: no clock, no randomness, no I/O, no environment.
"""

import asyncio
import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from saga.failures import attempts_told, question_in, root_cause
from saga.progress import Progress
from saga.steps import Activity, Step, retry_policy, run_try, start_to_close

with workflow.unsafe.imports_passed_through():
    from shared import (
        RECORD_TRIP,
        REFUSE_LATE_BOOKING,
        BookVacationInput,
        CancelBookingInput,
        Execution,
        Kind,
        StepProgress,
        TripNews,
        TripStatus,
        cut,
    )

LONGEST_STUCK_INTERVAL = 86_400.0
"""Seconds. The wait between two tries of a stuck undo grows no longer than that."""

RECORDING_LIMIT = dt.timedelta(seconds=15)
"""The most that one try to tell the record may take; the record itself gives up earlier."""

TRIPS_ARE_RECORDED = "trips-are-recorded"
"""Guards the local activity that trips of earlier versions do not run."""

BEGUN_BEFORE_A_RESET = "begun-before-a-reset"
"""Tells a run that was reset whether its undo is one of its own, or a replayed one."""

RESOLVED_LEAVES_TOMBSTONE = "resolved-leaves-tombstone"
"""Guards the activity that trips did not run in the first version."""


class Undoing:
    """The compensations of a trip, and what an operator may do about one that is stuck."""

    def __init__(self, book_input: BookVacationInput, progress: Progress) -> None:
        self._input = dataclasses.replace(book_input, execution=_execution(book_input))
        self._progress = progress
        self._compensations: list[Step] = []
        self._begun_before: list[Step] = []
        self._retries_asked: set[Kind] = set()
        self._begun: Counter[str] = Counter()
        """How many activities of each name were begun."""
        self._looks_again: dict[Kind, dt.timedelta] = {}
        """After what time an undo that is undecided is to go on."""

    async def undo_all(self) -> None:
        """Undo every step that was begun, the last one first.

        Neither a cancelled workflow nor a further cancel interrupts it, and it returns only when
        each undo has succeeded or an operator has declared it resolved.
        """
        # Before a reset the trip may have come further than this run has; but not where the undo is
        # a part of the history that this run replays. Those steps come last, so that they may be.
        begun_before = [step for step in self._begun_before if step not in self._compensations]
        if begun_before and self._input.policy.mechanism >= 2:
            begun_before = begun_before if workflow.patched(BEGUN_BEFORE_A_RESET) else []
        await to_its_end(self._undo_in_reverse(self._compensations))
        await to_its_end(self._undo_in_reverse(begun_before))

    @workflow.update
    def retry_undo(self, kind: Kind) -> StepProgress:
        """Try a stuck undo again now, and return the step. Asking again changes nothing."""
        step = self._progress.steps[kind]
        if step.state == "stuck":
            self._retries_asked.add(kind)
        return step

    @retry_undo.validator
    def _may_retry(self, kind: Kind) -> None:
        self._require(kind, "stuck", "undoing", "undone", "resolved")

    @workflow.update
    def resolve_undo(self, kind: Kind, note: str) -> StepProgress:
        """Take an operator's word that a stuck undo is settled, and return the step.

        Resolving it again changes nothing: the first note stays.
        """
        step = self._progress.steps[kind]
        if step.state == "stuck":
            step.note = cut(note)
            step.held = False
            self._progress.move(kind, "resolved")
        return step

    @resolve_undo.validator
    def _may_resolve(self, kind: Kind, note: str) -> None:
        self._require(kind, "stuck", "resolved")

    async def _undo_in_reverse(self, steps: Sequence[Step]) -> None:
        attempts = self._input.policy.undo_attempts
        left = [step for step in reversed(steps) if not await self._undo_succeeds(step, attempts)]
        if any(self._is_stuck(step) for step in left):
            await self._tell_record("needs_attention", None)
        # One that cannot succeed has not stopped the others; now each waits for its own way out.
        await asyncio.gather(*(self._settle(step) for step in left))

    def _is_stuck(self, step: Step) -> bool:
        return self._progress.steps[step.kind].state == "stuck"

    async def _undo_succeeds(self, step: Step, attempts: int) -> bool:
        progress = self._progress.steps[step.kind]
        earlier = progress.undo_attempts
        progress.undo_attempts += 1
        self._progress.move(step.kind, "undoing")
        try:
            tried = await run_try(
                step.undo,
                dataclasses.replace(self._input, earlier_tries=earlier),
                activity_id=self._next_id(step.undo),
                summary=f"Undo {step.kind} {cut(progress.item)}",
                retry_policy=retry_policy(self._input, attempts),
            )
        except ActivityError as error:
            if question := question_in(error):
                progress.undo_attempts = question.attempt - 1
                progress.last_error = question.last_error or progress.last_error
                self._looks_again[step.kind] = question.wait
                return False
            if error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED:
                progress.undo_attempts = earlier + attempts
            else:
                progress.undo_attempts = attempts_told(error) or progress.undo_attempts
            progress.last_error = root_cause(error)
            self._progress.move(step.kind, "stuck")
            workflow.logger.error("Undo of %s is stuck: %s", step.kind, progress.last_error)
            return False
        if tried is not None:
            progress.undo_attempts = tried.attempt
            progress.last_error = tried.last_error or progress.last_error
        progress.held = False
        self._progress.move(step.kind, "undone")
        return True

    def _next_id(self, activity: Activity) -> str | None:
        """Return the id of the activity that is about to begin; `None`: its place among all."""
        if self._input.policy.mechanism < 2:
            return None
        self._begun[activity.__name__] += 1
        return f"{activity.__name__}-{self._begun[activity.__name__]}"

    async def _settle(self, step: Step) -> None:
        """Wait until an undo has succeeded, or was stuck and is resolved.

        When nobody asks, a stuck one retries by itself, ever more seldom: a workflow's history is
        limited to 51,200 events, and a retry adds about a dozen.
        https://docs.temporal.io/workflow-execution/event#event-history
        """
        progress = self._progress.steps[step.kind]
        interval = self._input.policy.stuck_retry_interval
        while progress.state in ("stuck", "undoing"):
            if progress.state == "undoing":
                await self._look_again(step)
                continue
            try:
                await workflow.wait_condition(
                    lambda: step.kind in self._retries_asked or progress.state == "resolved",
                    timeout=interval,
                    timeout_summary=f"Retry the stuck undo of {step.kind}",
                )
            except TimeoutError:
                interval = min(2 * interval, LONGEST_STUCK_INTERVAL)
            self._retries_asked.discard(step.kind)
            if progress.state == "stuck":
                await self._undo_succeeds(step, attempts=1)
        if progress.state == "resolved" and self._leaves_tombstones():
            await self._refuse_late_booking(step)

    async def _look_again(self, step: Step) -> None:
        """Go on with an undo that was undecided, once it is time."""
        wait = self._looks_again[step.kind]
        await workflow.sleep(wait, summary=f"Look again for the {step.kind}")
        await self._undo_succeeds(step, self._input.policy.undo_attempts)
        if self._is_stuck(step):
            await self._tell_record("needs_attention", None)

    def _leaves_tombstones(self) -> bool:
        # Not asked of a new trip: this comes after a local activity, and what is first asked there
        # may stand in another workflow task than a replay asks it in.
        return self._input.policy.mechanism >= 2 or workflow.patched(RESOLVED_LEAVES_TOMBSTONE)

    async def _refuse_late_booking(self, step: Step) -> None:
        """Make sure that a try which is still under way somewhere cannot book any more.

        It is as little given up as an undo is.
        """
        while True:
            try:
                await workflow.execute_activity(
                    REFUSE_LATE_BOOKING,
                    args=[step.kind, self._input],
                    summary=f"Refuse a late booking of {step.kind}",
                    start_to_close_timeout=start_to_close(self._input),
                    retry_policy=retry_policy(self._input, attempts=0),
                )
            except ActivityError as error:
                workflow.logger.error("Cannot refuse %s: %s", step.kind, root_cause(error))
                await workflow.sleep(self._input.policy.stuck_retry_interval)
            else:
                return

    async def _tell_record(self, status: TripStatus, reason: str | None) -> None:
        """Tell the record how the trip stands, for as long as it takes to be heard.

        Raises `ActivityError` when the workflow is cancelled meanwhile.
        """
        if not (self._input.accepted or workflow.patched(TRIPS_ARE_RECORDED)):
            return
        steps, began = list(self._progress.steps.values()), workflow.info().workflow_start_time
        news = TripNews(status, reason, steps, workflow.now(), began)
        # A local activity, because it ends in the workflow task that closes the workflow.
        # https://docs.temporal.io/local-activity
        await workflow.execute_local_activity(
            RECORD_TRIP,
            args=[self._input, news],
            summary=f"Record that the trip is {status}",
            start_to_close_timeout=RECORDING_LIMIT,
            retry_policy=RetryPolicy(
                initial_interval=dt.timedelta(seconds=0.2),
                maximum_interval=dt.timedelta(seconds=10),
            ),
        )

    def _require(self, kind: Kind, *states: str) -> None:
        progress = self._progress.steps.get(kind)
        if progress is None or progress.state not in states:
            state = progress.state if progress else "unknown"
            raise ApplicationError(
                f"The {kind} is {state}; its undo is not stuck", type="UndoNotStuck"
            )


def _execution(book_input: BookVacationInput) -> Execution:
    """Return the execution that the trip belongs to: this one, or the one that is cancelled.

    Only a cancellation is told; a booking that names another one is somebody's copy of an input.
    """
    if isinstance(book_input, CancelBookingInput) and book_input.execution is not None:
        return book_input.execution
    info = workflow.info()
    return Execution(info.workflow_id, info.first_execution_run_id, info.workflow_start_time)


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end, however often the workflow is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            workflow.logger.info("Cancelled while undoing; the undo goes on")
    task.result()
