"""The base of a trip's workflow: how a step is booked, and what the world may ask.

`workflows.py` tells the story; this keeps the promises beneath it. Workflow code: no clock, no
randomness, no I/O, no environment.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any, Self

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from saga.compensation import Compensations, to_its_end
from saga.deadline import Deadline, Reset
from saga.holding import Hold
from saga.progress import Progress
from saga.recording import record_status, settings_of_worker
from saga.steps import NO_ANSWER, Step, root_cause, run

with workflow.unsafe.imports_passed_through():
    from shared import BookVacationInput, Execution, Kind, StepState, TripStatus, cut

UNLIMITED = 2**31 - 1
"""As many attempts as an input may have."""


class Saga:
    """The base of a trip's workflow: its steps, its compensations, what the world may ask."""

    def __new__(cls, *inputs: object) -> Self:
        """Raise `ApplicationError`, which fails the workflow, unless it has one input."""
        if len(inputs) != 1:
            about = f"A trip has one input; this has {len(inputs)}"
            raise ApplicationError(about, type="NotATrip", non_retryable=True)
        return super().__new__(cls)

    def __init__(
        self,
        book_input: BookVacationInput,
        steps: Sequence[Step],
        hold_seconds: float | None = None,
    ) -> None:
        # A trip has the steps that it started with: it wants nothing of a kind that came later.
        self._steps = [step for step in steps if book_input.item(step.kind) is not None]
        self._progress = Progress(step.kind for step in self._steps)
        self._reset = Reset()
        self._past_pivot = False
        self._hold = Hold(hold_seconds)
        # Not `start_time`, which is that of the first workflow task: no worker may have been there.
        self._plan(book_input, workflow.info().workflow_start_time)

    def _plan(self, book_input: BookVacationInput, began: dt.datetime) -> None:
        self._input = book_input
        self._compensations = Compensations(book_input, self._steps, self._progress, self._reset)
        self._deadline = Deadline(book_input.policy, self._reset, began)
        self._began = began

    async def begin(self) -> None:
        """Take the worker's settings if the input has none, and the time of a delayed start.

        The API gives each trip its settings, and a memo, and delays none. The CLI, a schedule and
        other SDKs know no settings, and may delay a start, which nothing but the first workflow
        task tells.
        """
        if "owner" in workflow.info().raw_memo or not workflow.patched("started-by-others"):
            return
        if not self._input.policy.chosen:
            await to_its_end(self._take_settings())
        self._plan(self._input, workflow.info().start_time)

    async def _take_settings(self) -> None:
        self._input = dataclasses.replace(self._input, policy=await settings_of_worker())

    async def book(self, step: Step, *given: object) -> RawValue | None:
        """Book one step, if the trip wants anything of its kind, and return its result, unread.

        Its activity takes what is `given`, such as an earlier step's result, after the trip. Raises
        `ActivityError` when the step cannot be booked or the workflow is cancelled, and
        `TripOverdue` when the trip's deadline has passed. After the pivot it raises neither.
        """
        if step not in self._steps:
            return None
        if self._past_pivot:
            return await to_its_end(self._book_at_last(step, given))
        self._deadline.check()
        # Before the step runs: even a try that only seems to fail may have booked.
        self._compensations.register(step)
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError
        if step.undo is not None:
            return await self._book(step, given)
        result = await to_its_end(self._book(step, given))
        self._past_pivot = True
        return result

    async def confirmed(self) -> None:
        """Return when the trip may count as booked: at once, unless it was to be held.

        Otherwise its steps are held by now. They are booked when the traveller confirms the trip,
        those first that nobody holds, while all else can still be released. Raises `Expired`, and
        as `book` does.
        """
        if not self._hold.is_on:
            return
        self._progress.show("held")
        quoted = await self._hold.until_confirmed(self._input, self._began)
        self._input = dataclasses.replace(self._input, hold_seconds=None)
        self._compensations.book_input = self._input
        self._began = workflow.now()
        self._deadline = Deadline(self._input.policy, self._reset, self._began)
        for step in sorted(self._steps, key=lambda step: step.kind not in quoted):
            self._deadline.check()
            await self._book(step, (), verb="Confirm")

    async def _book_at_last(self, step: Step, given: Sequence[object]) -> RawValue | None:
        booked: list[RawValue] = []

        async def try_it(step: Step) -> bool:
            try:
                booked.append(await self._book(step, given))
            except ActivityError as error:
                await self._compensations.give_up(step, f"Booking of {step.kind}", error)
            return bool(booked)

        if not await try_it(step):
            await self._compensations.until_settled(step, try_it)
        return booked[0] if booked else None

    async def _book(self, step: Step, given: Sequence[object], verb: str = "Book") -> RawValue:
        wanted, within = self._input, None
        is_hold = self._hold.is_on
        if step.undo is not None:
            within = self._deadline.of_step()
        else:
            # A try of unknown outcome may have booked, and nobody could undo that. So no deadline
            # and no number of failures ends the step: only success, or the supplier's final word.
            wanted = dataclasses.replace(wanted, attempts=UNLIMITED)
        self._progress.move(step.kind, "booking")
        try:
            result = await run(
                step,
                step.book,
                wanted,
                *given,
                activity_id=self._compensations.next_id(step.book),
                within=within,
                verb="Hold" if is_hold else verb,
            )
        except ActivityError as error:
            self._progress.move(step.kind, "failed")
            no_answer = within is not None and root_cause(error) == NO_ANSWER
            if no_answer and workflow.cancellation_reason() is None:
                self._deadline.check()
            raise
        self._progress.move(step.kind, "held" if is_hold else "booked")
        return result

    async def undo_booked(self) -> None:
        """Undo the steps of a trip that is over, the last one first. Nothing interrupts it.

        Raises `ApplicationError`, which fails the workflow, if a pivot is among them.
        """
        if any(step.undo is None for step in self._steps):
            about = "What has a step without an undo cannot be undone once it is booked"
            raise ApplicationError(about, type="PastPivot", non_retryable=True)
        self._compensations.register(*self._steps)
        await self.undo_all()

    async def undo_all(self) -> None:
        """Undo the steps that were begun, the last one first. Nothing interrupts it."""
        self._hold.close()
        await self._compensations.undo_all()

    @property
    def booked_items(self) -> dict[str, Any]:
        """What the trip has booked, as its result tells it."""
        return {f"booked_{step.kind}": self._input.item(step.kind) for step in self._steps}

    async def close(self, status: TripStatus, reason: str | None = None) -> None:
        """Tell the record how the trip ended: nobody learns of an ending that is not recorded.

        A cancel that comes meanwhile interrupts only the ending of a booked trip without a pivot,
        which then raises `ActivityError`.
        """
        ending = self._end(status, reason)
        await (ending if status == "booked" and not self._past_pivot else to_its_end(ending))

    async def _end(self, status: TripStatus, reason: str | None) -> None:
        await record_status(self._input, self._began, status, reason)
        self._progress.show(status)
        # An operator who waits for an answer gets it.
        await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.query
    def progress(self) -> dict[Kind, StepState]:
        """Return how far each step has come."""
        return self._progress.steps

    @workflow.update
    def confirm(self) -> None:
        """Have what is held booked. Asking again changes nothing."""
        self._hold.confirm()

    @confirm.validator
    def _may_confirm(self) -> None:
        self._hold.require()

    @workflow.update
    def retry_undo(self, kind: Kind) -> None:
        """Try a stuck undo again now. Asking again changes nothing."""
        self._compensations.retry(kind)

    @retry_undo.validator
    def _may_retry(self, kind: Kind) -> None:
        self._compensations.require(kind, "stuck", "undoing", "undone", "resolved")

    @workflow.update
    async def resolve_undo(self, kind: Kind, note: str) -> None:
        """Take an operator's word that a stuck undo is settled. The first note stays."""
        await self._compensations.resolve(kind, note)

    @resolve_undo.validator
    def _may_resolve(self, kind: Kind, note: str) -> None:
        self._compensations.require(kind, "stuck", "resolved")

    @workflow.signal(dynamic=True)
    def ignore(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Ignore a signal, whatever its name and inputs: a trip takes none.

        Without this the SDK would keep each one in the worker's memory until the trip has ended, in
        case a handler for it comes later.
        """
        workflow.logger.warning("Ignored the signal %s", cut(name))


def of_this_execution(book_input: BookVacationInput) -> BookVacationInput:
    """Return the trip with the execution that it belongs to, where its activities cannot tell.

    They can, unless the run was reset. An execution that the input names is somebody's copy.
    """
    info = workflow.info()
    execution = None
    if info.run_id != info.first_execution_run_id:
        execution = Execution(info.workflow_id, info.first_execution_run_id)
    return dataclasses.replace(book_input, execution=execution)
