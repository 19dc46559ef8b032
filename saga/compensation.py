"""Compensation: undo what was begun, the last step first, and repair an undo that is stuck.

Workflow code: no clock, no randomness, no I/O, no environment.
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from saga.deadline import Reset
from saga.progress import Progress
from saga.recording import record_stuck_undo
from saga.steps import Activity, Step, retry_policy, root_cause, run, start_to_close, takes_its_time

with workflow.unsafe.imports_passed_through():
    from shared import RESOLVE_UNDO, UNDECIDED, BookVacationInput, Kind, cut

Result = TypeVar("Result")

LONGEST_STUCK_INTERVAL = 86_400.0
"""Seconds. The wait between two tries of a stuck undo grows no longer than that."""


class Compensations:
    """The compensations of a trip, and what an operator may do about one that is stuck."""

    def __init__(
        self,
        book_input: BookVacationInput,
        steps: Sequence[Step],
        progress: Progress,
        reset: Reset,
    ) -> None:
        self.book_input = book_input
        """The trip as its undos name it: once it is confirmed, it is not to be held any more."""
        self._steps = steps
        self._progress = progress
        self._reset = reset
        self._begun: list[Step] = []
        self._ids: Counter[str] = Counter()
        self._retries_asked: set[Kind] = set()
        self._notes: dict[Kind, str] = {}

    def register(self, *steps: Step) -> None:
        """Have steps undone if the trip fails: those that are about to begin, or were booked."""
        self._begun.extend(steps)

    def next_id(self, activity: Activity) -> str:
        """Return the id of the activity that is about to begin: its own name and count.

        So it makes no difference whether a worker has run a workflow ahead of its task.
        """
        self._ids[activity.__name__] += 1
        return f"{activity.__name__}-{self._ids[activity.__name__]}"

    async def undo_all(self) -> None:
        """Undo every step that was begun, the last one first.

        Neither a cancelled workflow nor a further cancel interrupts it. It returns only when each
        undo has succeeded or an operator has declared it resolved.
        """
        await to_its_end(self._undo_in_reverse(self._begun))
        # Before a reset the trip may have come further than this run has. But where the undo is a
        # part of the history that this run replays, it undid no more than that.
        further = [step for step in self._steps if step not in self._begun]
        if self._reset.is_behind:
            await to_its_end(self._undo_in_reverse(further))

    def retry(self, kind: Kind) -> None:
        """Have a stuck undo tried again now. Asking again changes nothing."""
        if self._progress.steps[kind] == "stuck":
            self._retries_asked.add(kind)

    async def resolve(self, kind: Kind, note: str) -> None:
        """Take an operator's word that a stuck undo is settled, and return once it is recorded.

        The first note stays.
        """
        self._notes.setdefault(kind, cut(note))
        await workflow.wait_condition(lambda: self._progress.steps[kind] in ("undone", "resolved"))

    def require(self, kind: Kind, *states: str) -> None:
        """Raise `ApplicationError` unless the step is in one of the states."""
        state = self._progress.steps.get(kind)
        if state not in states:
            raise ApplicationError(
                f"The {kind} is {state or 'unknown'}; its undo is not stuck", type="UndoNotStuck"
            )

    async def _undo_in_reverse(self, steps: Sequence[Step]) -> None:
        # An undo that takes its time does not stop the others. Afterwards each waits for its own
        # way out.
        left = [step for step in reversed(steps) if not await self._undo(step, at_first=True)]
        await asyncio.gather(*(self._settle(step) for step in left))

    async def _settle(self, step: Step) -> None:
        if self._progress.steps[step.kind] == "stuck" or not await self._undo(step):
            await self.until_settled(step, self._undo)

    async def until_settled(self, step: Step, again: Callable[[Step], Awaitable[bool]]) -> None:
        """Return when a stuck step has succeeded `again`, or is resolved.

        When nobody asks, it is tried again by itself, ever more seldom: the history of a workflow
        is limited to 51,200 events, and a retry adds about a dozen.
        https://docs.temporal.io/workflow-execution/event#event-history
        """
        interval = self.book_input.policy.stuck_retry_interval
        done = False
        while not done:
            try:
                await workflow.wait_condition(
                    lambda: step.kind in self._retries_asked or step.kind in self._notes,
                    timeout=interval,
                    timeout_summary=f"Try the stuck {step.kind} again",
                )
            except TimeoutError:
                interval = min(2 * interval, LONGEST_STUCK_INTERVAL)
            if step.kind in self._notes:
                await self._resolve(step.kind)
                return
            self._retries_asked.discard(step.kind)
            done = await again(step)

    async def _undo(self, step: Step, *, at_first: bool = False) -> bool:
        """Tell whether a step could be undone. Else it is stuck, or `at_first` takes its time."""
        if step.undo is None:
            return True  # The pivot, which has failed.
        policy = self.book_input.policy
        self._progress.move(step.kind, "undoing")
        try:
            await run(
                step,
                step.undo,
                self.book_input,
                activity_id=self.next_id(step.undo),
                within=dt.timedelta(
                    seconds=policy.step_deadline if at_first else policy.trip_deadline
                ),
                verb="Undo",
                final=(UNDECIDED,) if at_first else (),
            )
        except ActivityError as error:
            if at_first and takes_its_time(error):
                return False
            await self.give_up(step, f"Undo of {step.kind}", error)
            return False
        self._progress.move(step.kind, "undone")
        return True

    async def give_up(self, step: Step, what: str, error: ActivityError) -> None:
        """Tell the record and the log that a step is stuck: its trip needs attention."""
        words = root_cause(error)
        workflow.logger.error("%s is stuck: %s", what, words)
        await record_stuck_undo(self.book_input, step.kind, words)
        self._progress.move(step.kind, "stuck")

    async def _resolve(self, kind: Kind) -> None:
        """Record the operator's word: a try which is still under way somewhere books no more."""
        await workflow.execute_activity(
            RESOLVE_UNDO,
            args=[self.book_input, kind, self._notes[kind]],
            summary=f"Record that the {kind} is settled",
            start_to_close_timeout=start_to_close(self.book_input),
            retry_policy=retry_policy(self.book_input),
        )
        self._progress.move(kind, "resolved")


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do `work` to its end, however often the workflow is cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            workflow.logger.info("Cancelled; what is under way goes on to its end")
    return task.result()
