"""The trips' workflows in Temporal: to start, describe, await, cancel and repair them."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from bookings.errors import BookingNotFound, asking_temporal
from bookings.trips import acting_workflow, may_be_id, price_in
from connection import UnreadablePayload, namespace_of
from record import RecordedTrip
from shared import (
    CANCELLED,
    KINDS,
    TASK_QUEUE_NAME,
    BookVacationInput,
    Execution,
    Kind,
    SagaPolicy,
    TripStatus,
)
from workflows import BookingWorkflow, CancelBookingWorkflow

RPC_TIMEOUT = timedelta(seconds=5)

LONG_POLL_TIMEOUT = timedelta(seconds=70)
"""A long poll is answered after 20 seconds at the latest, even if nothing has happened."""

FAIRNESS_KEY_BYTES = 64
"""What Temporal takes for a fairness key."""

ALWAYS_WANTED = [
    field.name
    for field in dataclasses.fields(BookVacationInput)
    if field.name in {f"book_{kind}_id" for kind in KINDS} and field.default is dataclasses.MISSING
]
"""The items that every trip has, which is older than no kind of them."""


class TripWorkflows:
    """The trips' workflows, as one Temporal client sees them. New trips start with `policy`.

    Each method may raise `TemporalUnavailable` and `TemporalRefuses`.
    """

    def __init__(self, client: Client, policy: SagaPolicy) -> None:
        self._client = client
        self.policy = policy

    async def start(self, row: RecordedTrip) -> None:
        """Start the trip's workflow, unless there is one of its id."""
        # A trip's id is its own for as long as the namespace retains it, and for good in the
        # record.
        await self._start(
            BookingWorkflow,
            row,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )

    async def start_cancellation(self, row: RecordedTrip) -> None:
        """Start to undo a trip that is over and is recorded as being cancelled.

        Doing so again changes nothing.
        """
        await self._start(
            CancelBookingWorkflow,
            row,
            # Once is enough, but one that was stopped from outside may be started again.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    async def cancel(self, row: RecordedTrip) -> bool:
        """Have a trip's own workflow cancelled; tell whether Temporal takes the order.

        The order is for the execution that the trip belongs to, or for any if the trip is not
        claimed yet. Temporal takes it also for an execution that has closed, while it knows it.
        """
        with contextlib.suppress(BookingNotFound), asking_temporal():
            await self._own(row).cancel(rpc_timeout=RPC_TIMEOUT)
            return True
        return False

    async def repair(self, row: RecordedTrip, kind: Kind, note: str | None) -> None:
        """Have a stuck undo declared settled with a note, or without one tried again now.

        Raises `BookingConflict`, `BookingNotFound` and `NoWorker`.
        """
        asked = BookingWorkflow.retry_undo if note is None else BookingWorkflow.resolve_undo
        words = [kind] if note is None else [kind, note]
        with asking_temporal():
            # A cancellation's updates are those of the booking itself.
            await self._client.get_workflow_handle(acting_workflow(row)).execute_update(
                asked, args=words, rpc_timeout=RPC_TIMEOUT
            )

    async def confirm(self, row: RecordedTrip) -> None:
        """Have a held trip booked. Doing so again changes nothing.

        Raises `BookingConflict`, `BookingNotFound` and `NoWorker`.
        """
        with asking_temporal():
            await self._own(row).execute_update(BookingWorkflow.confirm, rpc_timeout=RPC_TIMEOUT)

    async def closing(self, workflow_id: str) -> None:
        """Return once a workflow has closed. It holds a long poll at Temporal meanwhile.

        Raises `BookingNotFound`. It gives up at the first failure: the SDK, which waits for a
        result likewise, would ask again and again where Temporal has no long poll to spare.
        """
        question = GetWorkflowExecutionHistoryRequest(
            namespace=namespace_of(self._client),
            execution=WorkflowExecution(workflow_id=workflow_id),
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            skip_archival=True,
        )
        while True:
            with asking_temporal():
                answer = await self._client.workflow_service.get_workflow_execution_history(
                    question, timeout=LONG_POLL_TIMEOUT
                )
            if answer.history.events:
                return
            question.next_page_token = answer.next_page_token

    async def acting(self, row: RecordedTrip) -> WorkflowExecutionInfo | None:
        """Return the description of the workflow that acts on a trip, `None` if there is none."""
        description = await self.describe(acting_workflow(row))
        if description is None or row.cancelled_at or row.first_run_id is None:
            return description
        # Another execution of this id is another trip's.
        return description if description.first_run_id == row.first_run_id else None

    async def standing(self, row: RecordedTrip) -> TripStatus | None:
        """Return how a trip stands by the workflow that acts on it: running, or how it has ended.

        `None`: the workflow was stopped from outside, or Temporal knows none.
        """
        description = await self.acting(row)
        if description is None:
            return None
        if is_open(description):
            return "running"
        ending = await self.ending(description)
        return ending and ending[0]

    async def ending(
        self, description: WorkflowExecutionInfo
    ) -> tuple[TripStatus, str | None] | None:
        """Return how a closed workflow has ended its trip, and why.

        `None`: it was stopped from outside, its result is not a trip's, or Temporal has forgotten
        it meanwhile.
        """
        if description.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED:
            return "cancelled", CANCELLED
        if description.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED:
            return None
        told = description.execution
        handle = self._client.get_workflow_handle(told.workflow_id, run_id=told.run_id)
        with contextlib.suppress(BookingNotFound), asking_temporal():
            match await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT):
                case {"status": "success"}:
                    return "booked", None
                case {"status": "failure", "message": str(reason)}:
                    return "rolled_back", reason
                case {"status": "expired", "message": str(reason)}:
                    return "expired", reason
                case {"status": "cancelled"}:
                    return "cancelled", CANCELLED
        return None

    async def describe(self, workflow_id: str) -> WorkflowExecutionInfo | None:
        """Return what Temporal tells of a workflow, `None` when it knows none of this id.

        The SDK's own description raises `ValueError` for a status that is newer than the SDK.
        """
        question = DescribeWorkflowExecutionRequest(
            namespace=namespace_of(self._client),
            execution=WorkflowExecution(workflow_id=workflow_id),
        )
        ask = self._client.workflow_service.describe_workflow_execution
        with contextlib.suppress(BookingNotFound), asking_temporal():
            try:
                answer = await ask(question, retry=True, timeout=RPC_TIMEOUT)
            except RPCError as error:
                # An id that Temporal calls invalid (too long, say) is no trip's id.
                if error.status != RPCStatusCode.INVALID_ARGUMENT:
                    raise
            else:
                return answer.workflow_execution_info
        return None

    async def running(self) -> set[str]:
        """Return the ids of all running workflows of trips."""
        types = f"'{BookingWorkflow.__name__}', '{CancelBookingWorkflow.__name__}'"
        with asking_temporal():
            listed = self._client.list_workflows(
                f"WorkflowType IN ({types}) AND ExecutionStatus = 'Running'",
                page_size=1_000,
                rpc_timeout=RPC_TIMEOUT,
            )
            return {execution.id async for execution in listed}

    async def unrecorded(self, workflow_id: str) -> RecordedTrip | None:
        """Return the row that the trip of a workflow would have; `None`: it is no trip's.

        Raises `UnreadablePayload`.
        """
        description = await self.describe(workflow_id)
        if description is None or description.type.name != BookingWorkflow.__name__:
            return None
        with contextlib.suppress(BookingNotFound), asking_temporal():
            history = self._client.get_workflow_handle(workflow_id).fetch_history_events(
                page_size=1, rpc_timeout=RPC_TIMEOUT
            )
            begun = (await anext(history)).workflow_execution_started_event_attributes
            try:
                (told,) = await self._client.data_converter.decode(
                    begun.input.payloads, [BookVacationInput]
                )
            except UnreadablePayload:
                raise  # It may well be one.
            except Exception:  # Each converter raises its own.
                return None
            if isinstance(told, BookVacationInput) and may_be_id(told.book_user_id):
                return RecordedTrip(
                    trip_id=told.book_user_id,
                    owner=told.owner,
                    request=told.request,
                    status="running",
                    workflow_id=workflow_id,
                    # With `--start-delay` a workflow begins later than it was started.
                    accepted_at=description.execution_time.ToDatetime(dt.UTC),
                    first_run_id=description.first_run_id,
                )
        return None

    def input_of(self, row: RecordedTrip) -> BookVacationInput:
        """Return a trip as its workflows and activities get it.

        It has the execution that it belongs to, if an execution has claimed it.
        """
        # Of a trip that is older than the record, only what it held is known. It does no harm to
        # undo nothing. Such a trip wants nothing of a kind that came later.
        wanted: dict[str, Any] = dict.fromkeys(ALWAYS_WANTED, "")
        wanted |= {f"book_{step.kind}_id": step.item for step in row.steps}
        claimed = row.first_run_id
        return BookVacationInput(
            # Earlier versions have recorded other numbers, too.
            attempts=min(max(int(row.request.get("attempts") or 1), 1), 2**31 - 1),
            book_user_id=row.trip_id,
            policy=self.policy,
            name=row.request.get("name") or "",
            owner=row.owner,
            execution=Execution(row.workflow_id, claimed) if claimed else None,
            hold_seconds=row.request.get("hold_seconds"),
            max_price=price_in(row.request),
            **wanted,
        )

    def _own(self, row: RecordedTrip) -> WorkflowHandle[Any, Any]:
        """Return the trip's own workflow: the execution that it belongs to, if it is claimed."""
        return self._client.get_workflow_handle(
            row.workflow_id, first_execution_run_id=row.first_run_id
        )

    async def _start(
        self,
        workflow: type[BookingWorkflow | CancelBookingWorkflow],
        row: RecordedTrip,
        **policies: Any,
    ) -> None:
        # What people see in the Web UI; nothing here reads it.
        asked = {**row.request, "max_price": price_in(row.request)}
        told = {name: str(value) for name, value in asked.items() if value is not None}
        items = [told[name] for name in ("name", *KINDS) if told.get(name)]
        # A workflow that was started already is as good.
        with asking_temporal(), contextlib.suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                workflow.__name__,
                self.input_of(row),
                id=acting_workflow(row),
                task_queue=TASK_QUEUE_NAME,
                memo={**told, "owner": row.owner},
                static_summary=summary_of(items),
                priority=fair_share_of(row.owner),
                rpc_timeout=RPC_TIMEOUT,
                **policies,
            )


def is_open(description: WorkflowExecutionInfo) -> bool:
    """Tell whether a workflow has not closed. It may be paused."""
    return not description.HasField("close_time")


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
    # The UI replaces `{runId}`. A word joiner, which is not seen, keeps an item from that.
    lines = [" ".join(item.split()).replace("{", "{\u2060") for item in items]
    # An item of a script that runs from right to left does not reverse the others.
    # https://www.unicode.org/reports/tr9/#Explicit_Directional_Isolates
    return "    " + " · ".join(item if item.isascii() else f"\u2068{item}\u2069" for item in lines)
