"""What every trip's workflow shares: how to book a step, undo steps in reverse, show progress.

`workflows.py` tells the story; this module keeps the promises beneath it. It is workflow code, so
it is deterministic: no clock, no randomness, no I/O, no environment.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    RetryState,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from shared import (
        BOOKING_STATUS_ATTRIBUTE,
        REPORT_TRY_SIGNAL,
        BookVacationInput,
        Kind,
        StepProgress,
        StepState,
        TripProgress,
        TripStatus,
        TryReport,
        steps_as_json,
    )

FINAL_ERRORS = ["ValueError", "ReservationRefused"]
"""Names of the errors after which a booking step is not tried again."""

STATUS_KEY = SearchAttributeKey.for_keyword(BOOKING_STATUS_ATTRIBUTE)

LONGEST_STUCK_INTERVAL = 86_400.0
"""Seconds. The wait between two tries of a stuck undo grows no longer than that."""

Activity = Callable[[BookVacationInput], Awaitable[str]]


class Step(NamedTuple):
    """One step of a trip: what it books, and the activities that book it and undo it."""

    kind: Kind
    book: Activity
    undo: Activity


class Saga:
    """The base of a trip's workflow: its steps, its compensations, what the world may ask."""

    def __init__(self, book_input: BookVacationInput, steps: tuple[Step, ...]) -> None:
        self._input = book_input
        self._status: TripStatus = "running"
        self._progress = {
            step.kind: StepProgress(step.kind, book_input.item(step.kind)) for step in steps
        }
        self._compensations: list[Step] = []
        self._earlier_undo_attempts = dict.fromkeys(self._progress, 0)
        self._retries_asked: set[Kind] = set()

    # What a workflow does

    async def book(self, step: Step) -> str:
        """Book one step and return the id of what was booked.

        Raises `ActivityError` when the step cannot be booked or the workflow is cancelled.
        """
        # Before the step runs: even a try that only seems to fail may have booked.
        self._compensations.append(step)
        progress = self._progress[step.kind]
        progress.attempts = 1
        self._move(step.kind, "booking")
        policy = self._input.policy
        try:
            booked = await workflow.execute_activity(
                step.book,
                self._input,
                summary=f"Book {step.kind} {progress.item}",
                schedule_to_close_timeout=dt.timedelta(seconds=policy.step_deadline),
                start_to_close_timeout=dt.timedelta(seconds=policy.try_timeout),
                heartbeat_timeout=dt.timedelta(seconds=policy.heartbeat_timeout),
                retry_policy=self._retry_policy(self._input.attempts, FINAL_ERRORS),
            )
        except ActivityError as error:
            if not is_cancelled_exception(error):
                if error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED:
                    progress.attempts = self._input.attempts
                progress.last_error = root_cause(error)
                self._move(step.kind, "failed")
            raise
        self._move(step.kind, "booked")
        return booked

    async def undo_all(self) -> None:
        """Undo every step that was begun, the last one first.

        Neither a cancelled workflow nor a further cancel interrupts it, and it returns only when
        each undo has succeeded or an operator has declared it resolved.
        """
        undoing = asyncio.create_task(self._undo_in_reverse())
        while not undoing.done():
            try:
                await asyncio.shield(undoing)
            except asyncio.CancelledError:
                workflow.logger.info("Cancelled while undoing; the undo goes on")
        undoing.result()

    def close(self, status: TripStatus) -> list[dict[str, Any]]:
        """Record how the trip ended and return its steps, for the workflow's result."""
        self._set_status(status)
        return steps_as_json(self._progress.values())

    # What the world may ask

    @workflow.query
    def progress(self) -> TripProgress:
        """Return the trip's status and how far each step has come."""
        return TripProgress(self._status, list(self._progress.values()))

    @workflow.signal(name=REPORT_TRY_SIGNAL)
    def report_try(self, report: TryReport) -> None:
        """Take note of a try that an activity has begun or failed."""
        progress = self._progress[report.kind]
        if report.undo and progress.state == "undoing":
            attempts = self._earlier_undo_attempts[report.kind] + report.attempt
            progress.undo_attempts = max(progress.undo_attempts, attempts)
        elif not report.undo and progress.state == "booking":
            progress.attempts = max(progress.attempts, report.attempt)
        else:
            return  # A late try of a step that has moved on.
        progress.last_error = report.error or progress.last_error
        self._show()

    @workflow.update
    def retry_undo(self, kind: Kind) -> StepProgress:
        """Try a stuck undo again now, and return the step. Asking again changes nothing."""
        progress = self._progress[kind]
        if progress.state == "stuck":
            self._retries_asked.add(kind)
        return progress

    @retry_undo.validator
    def _may_retry(self, kind: Kind) -> None:
        self._require(kind, "stuck", "undoing", "undone", "resolved")

    @workflow.update
    def resolve_undo(self, kind: Kind, note: str) -> StepProgress:
        """Take an operator's word that a stuck undo is settled, and return the step.

        Resolving it again changes nothing: the first note stays.
        """
        progress = self._progress[kind]
        if progress.state == "stuck":
            progress.note = note
            self._move(kind, "resolved")
        return progress

    @resolve_undo.validator
    def _may_resolve(self, kind: Kind, note: str) -> None:
        self._require(kind, "stuck", "resolved")

    # How it is done

    async def _undo_in_reverse(self) -> None:
        attempts = self._input.policy.undo_attempts
        stuck = [
            step
            for step in reversed(self._compensations)
            if not await self._undo_succeeds(step, attempts)
        ]
        # One that cannot succeed has not stopped the others; now each waits for its own way out.
        await asyncio.gather(*(self._settle(step) for step in stuck))

    async def _undo_succeeds(self, step: Step, attempts: int) -> bool:
        progress = self._progress[step.kind]
        earlier = self._earlier_undo_attempts[step.kind] = progress.undo_attempts
        progress.undo_attempts += 1
        self._move(step.kind, "undoing")
        policy = self._input.policy
        try:
            await workflow.execute_activity(
                step.undo,
                self._input,
                summary=f"Undo {step.kind} {progress.item}",
                start_to_close_timeout=dt.timedelta(seconds=policy.try_timeout),
                heartbeat_timeout=dt.timedelta(seconds=policy.heartbeat_timeout),
                retry_policy=self._retry_policy(attempts),
            )
        except ActivityError as error:
            if error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED:
                progress.undo_attempts = earlier + attempts
            progress.last_error = root_cause(error)
            self._move(step.kind, "stuck")
            workflow.logger.error("Undo of %s is stuck: %s", step.kind, progress.last_error)
            return False
        self._move(step.kind, "undone")
        return True

    async def _settle(self, step: Step) -> None:
        """Wait until a stuck undo is resolved, or retried with success.

        When nobody asks, it retries by itself, ever more seldom: a workflow's history is limited
        to 51,200 events, and a retry adds about a dozen.
        https://docs.temporal.io/workflow-execution/event#event-history
        """
        progress = self._progress[step.kind]
        interval = self._input.policy.stuck_retry_interval
        while progress.state == "stuck":
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

    def _retry_policy(self, attempts: int, final_errors: list[str] | None = None) -> RetryPolicy:
        policy = self._input.policy
        return RetryPolicy(
            initial_interval=dt.timedelta(seconds=policy.retry_interval),
            maximum_interval=dt.timedelta(seconds=policy.retry_interval_cap),
            maximum_attempts=attempts,
            non_retryable_error_types=final_errors,
        )

    def _require(self, kind: Kind, *states: str) -> None:
        progress = self._progress.get(kind)
        if progress is None or progress.state not in states:
            state = progress.state if progress else "unknown"
            raise ApplicationError(
                f"The {kind} is {state}; its undo is not stuck", type="UndoNotStuck"
            )

    def _move(self, kind: Kind, state: StepState) -> None:
        self._progress[kind].state = state
        stuck = any(progress.state == "stuck" for progress in self._progress.values())
        self._set_status("needs_attention" if stuck else "running")

    def _set_status(self, status: TripStatus) -> None:
        if status != self._status:
            self._status = status
            # Only a start that carried the attribute proves that the server knows it: upserting
            # an unknown one would block the workflow.
            if workflow.info().typed_search_attributes.get(STATUS_KEY) is not None:
                workflow.upsert_search_attributes([STATUS_KEY.value_set(status)])
        self._show()

    def _show(self) -> None:
        """Show the progress in the Web UI."""
        lines = [f"**{self._status}**", "", "| step | state | tries | last error |", "|-|-|-|-|"]
        for step in self._progress.values():
            tries = f"{step.attempts}" + (f" + {step.undo_attempts}" if step.undo_attempts else "")
            error = " ".join((step.last_error or "").replace("|", "\\|").split())
            lines.append(f"| {step.kind} | {step.state} | {tries} | {error} |")
        workflow.set_current_details("\n".join(lines))


def root_cause(error: BaseException) -> str:
    """Return why an activity failed, in the supplier's words where there are any."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ApplicationError):
        cause = cause.__cause__
    return cause.message if cause else "The supplier did not answer in time"
