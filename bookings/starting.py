"""Starting the workflows of trips and of their cancellations, each once."""

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from bookings.asking import asking_temporal
from bookings.temporal import RPC_TIMEOUT
from bookings.trips import acting_workflow, steps_of, with_reservations
from bookings.waiting import Waiting
from record import RecordedTrip
from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput, CancelBookingInput, Execution
from workflows import BookingWorkflow, CancelBookingWorkflow

ALWAYS_WANTED = [
    field.name
    for field in dataclasses.fields(BookVacationInput)
    if field.name in {f"book_{kind}_id" for kind in KINDS} and field.default is dataclasses.MISSING
]
"""The items that every trip has, which is older than no kind of them."""

FAIRNESS_KEY_BYTES = 64
"""What Temporal takes for a fairness key."""


class Starting(Waiting):
    """Starts workflows."""

    async def start(self, row: RecordedTrip) -> bool:
        """Start the trip's workflow, and tell whether there was none of its id.

        Raises `TemporalUnavailable` and `TemporalRefuses`.
        """
        with asking_temporal():
            try:
                await self._start(
                    BookingWorkflow,
                    row,
                    self._input(row),
                    # A trip's id is its own for as long as the namespace retains it, and for good
                    # in the record.
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:
                return False
        return True

    async def start_cancellation(self, row: RecordedTrip) -> None:
        """Start to undo a trip that is over and is recorded as being cancelled.

        Doing so again changes nothing. Raises as `start` does.
        """
        steps = steps_of(row)
        if row.steps is None:
            steps = with_reservations(steps, await self._record.reservations_of(row.trip_id))
        trip = vars(self.input_of(row))
        # One that was started already is as good.
        with asking_temporal(), contextlib.suppress(WorkflowAlreadyStartedError):
            await self._start(
                CancelBookingWorkflow,
                row,
                CancelBookingInput(**trip, steps=steps),
                # Once is enough, but one that was stopped from outside may be started again.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

    def input_of(self, row: RecordedTrip) -> BookVacationInput:
        """Return a trip as its activities get it, with the execution that it belongs to."""
        execution = None
        if row.first_run_id:
            execution = Execution(row.workflow_id, row.first_run_id, row.accepted_at)
        return dataclasses.replace(self._input(row), execution=execution)

    def _input(self, row: RecordedTrip) -> BookVacationInput:
        # The steps of a trip that is over are known even where its request is not.
        # Of a trip that is older than the record only what it held is known. Undoing nothing is no
        # harm; a kind that came later it does not want.
        wanted: dict[str, Any] = dict.fromkeys(ALWAYS_WANTED, "")
        wanted |= {f"book_{step.kind}_id": step.item for step in steps_of(row)}
        return BookVacationInput(
            attempts=int(row.request.get("attempts") or 1),
            book_user_id=row.trip_id,
            policy=self._policy,
            name=row.request.get("name") or "",
            owner=row.owner or "",
            accepted=True,
            **wanted,
        )

    async def _start(
        self,
        workflow: type[BookingWorkflow | CancelBookingWorkflow],
        row: RecordedTrip,
        book_input: BookVacationInput,
        **policies: Any,
    ) -> None:
        # What people see in the Web UI; nothing here reads it.
        told = {name: str(value) for name, value in row.request.items() if value is not None}
        items = [told[name] for name in ("name", *KINDS) if told.get(name)]
        await self._client.start_workflow(
            workflow.__name__,
            book_input,
            id=acting_workflow(row),
            task_queue=TASK_QUEUE_NAME,
            memo={**told, "owner": row.owner or ""},
            static_summary=summary_of(items),
            priority=fair_share_of(row.owner or ""),
            rpc_timeout=RPC_TIMEOUT,
            **policies,
        )


def fair_share_of(owner: str) -> Priority:
    """Return the priority with which each owner's trips get an equal share of the workers.

    A trip's activities inherit it. Where Temporal's task queues are not fair, it changes nothing.
    https://docs.temporal.io/develop/task-queue-priority-fairness
    """
    key = owner.encode()[:FAIRNESS_KEY_BYTES].decode(errors="ignore")
    return Priority(fairness_key=key or None)


def summary_of(items: Iterable[str]) -> str:
    """Return the line that shows `items` as they are, wherever the Web UI shows it.

    With a run's metadata the UI shows it as Markdown, to which an indented line is code, in which
    nothing has a meaning. Elsewhere it shows it as plain text, in which an indent is not seen.
    """
    # The UI fills `{runId}` in before: a word joiner, which is not seen, is none of its letters.
    lines = [" ".join(item.split()).replace("{", "{\u2060") for item in items]
    # One that is written from right to left turns only itself round.
    # https://www.unicode.org/reports/tr9/#Explicit_Directional_Isolates
    return "    " + " · ".join(item if item.isascii() else f"\u2068{item}\u2069" for item in lines)
