"""What the API asks of Temporal: start a trip, wait for its outcome, look it up.

It knows nothing of HTTP. When Temporal cannot be asked, it raises `TemporalUnavailable`.
"""

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import CancelledError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from histories import steps_in_history
from saga import STATUS_KEY
from shared import (
    KINDS,
    TASK_QUEUE_NAME,
    BookingResult,
    BookVacationInput,
    StepProgress,
    TripStatus,
)
from workflows import BookingWorkflow

RPC_TIMEOUT = dt.timedelta(seconds=5)
QUERY_TIMEOUT = dt.timedelta(seconds=2)
RESULT_RETRY_INTERVAL = 0.5

POLLER_AGE = dt.timedelta(seconds=75)
"""A live worker asks for work at least once a minute; an older poller is a dead worker's."""


class TemporalUnavailable(Exception):
    """Temporal could not be asked. What was to be started may or may not have been."""


class BookingNotFound(Exception):
    """There is no such trip, or it is older than what Temporal keeps."""


class BookingDiffers(Exception):
    """A trip of that id was started already, with another request."""


@dataclass(frozen=True)
class Outcome:
    """How a trip ended: with a `result`, or stopped for a `reason`."""

    result: BookingResult | None
    reason: str = ""


@dataclass(frozen=True)
class Trip:
    """A trip as it stands. `stale` says that no worker could be asked about its steps."""

    user_id: str
    run_id: str
    status: TripStatus
    steps: list[StepProgress]
    started_at: dt.datetime
    closed_at: dt.datetime | None
    reason: str | None = None
    stale: bool = False


@contextmanager
def _asking_temporal() -> Iterator[None]:
    """Translate the failure of a call to Temporal, whatever its form."""
    try:
        yield
    except RPCError as error:
        raise TemporalUnavailable(error.message) from error
    except RuntimeError as error:
        # This is how a lazy client fails that cannot connect.
        raise TemporalUnavailable(str(error)) from error


class Bookings:
    """The bookings, as one Temporal client sees them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._status_attribute_known = True
        self._waits: set[asyncio.Task[Outcome]] = set()
        self._stopping = False

    async def start(self, book_input: BookVacationInput, name: str) -> None:
        """Start the trip, unless the same one was started already.

        Raises `BookingDiffers` when its id belongs to another trip and `TemporalUnavailable`.
        """
        memo: dict[str, str] = {kind: book_input.item(kind) for kind in KINDS}
        memo |= {"name": name, "attempts": str(book_input.attempts)}
        with _asking_temporal():
            try:
                await self._start_workflow(book_input, memo)
            except WorkflowAlreadyStartedError:
                description = await self._handle(book_input.book_user_id).describe(
                    rpc_timeout=RPC_TIMEOUT
                )
                started = await description.memo()
                if any(started.get(key) != value for key, value in memo.items()):
                    raise BookingDiffers from None

    async def _start_workflow(self, book_input: BookVacationInput, memo: dict[str, str]) -> None:
        attributes = TypedSearchAttributes([SearchAttributePair(STATUS_KEY, "running")])
        try:
            await self._client.start_workflow(
                BookingWorkflow.run,
                book_input,
                id=book_input.book_user_id,
                task_queue=TASK_QUEUE_NAME,
                # A trip's id is its own for ever, or as long as the namespace retains it.
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                memo=memo,
                search_attributes=attributes if self._status_attribute_known else None,
                static_summary=" · ".join([memo["name"], *(memo[kind] for kind in KINDS)]),
                rpc_timeout=RPC_TIMEOUT,
            )
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT or not self._status_attribute_known:
                raise
            # This server does not have the search attribute: trips are booked without it.
            self._status_attribute_known = False
            await self._start_workflow(book_input, memo)

    async def outcome(self, user_id: str, seconds: float) -> Outcome | None:
        """Wait for the trip to end, `seconds` at the most; `None` means that it goes on.

        An outage of Temporal does not end the wait, as it does not end the trip.
        """
        wait = asyncio.create_task(self._outcome(user_id))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        await asyncio.wait({wait}, timeout=0 if self._stopping else seconds)
        if wait.done() and not wait.cancelled():
            return wait.result()
        wait.cancel()
        return None

    def stop_waiting(self) -> None:
        """End all waits now, and the later ones at once: the process is about to stop."""
        self._stopping = True
        for wait in self._waits:
            wait.cancel()

    async def _outcome(self, user_id: str) -> Outcome:
        handle = self._handle(user_id)
        while True:
            try:
                return Outcome(await handle.result())
            except WorkflowFailureError as error:
                if isinstance(error.cause, CancelledError):
                    return Outcome(None, "Cancelled on request")
                return Outcome(None, f"The booking was stopped: {error.cause}")
            except (RPCError, RuntimeError):
                await asyncio.sleep(RESULT_RETRY_INTERVAL)

    async def look_up(self, user_id: str) -> Trip:
        """Return the trip as it stands.

        Raises `BookingNotFound` and `TemporalUnavailable`.
        """
        with _asking_temporal():
            try:
                description = await self._handle(user_id).describe(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                    raise BookingNotFound from None
                raise
            if description.workflow_type != BookingWorkflow.__name__:
                raise BookingNotFound
            return await self._trip(description)

    async def check_ready(self) -> str | None:
        """Return what keeps trips from being booked, or `None` when nothing does."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE_NAME),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            with _asking_temporal():
                answer = await self._client.workflow_service.describe_task_queue(
                    request, timeout=RPC_TIMEOUT
                )
        except TemporalUnavailable:
            return "Temporal cannot be reached"
        oldest = dt.datetime.now(dt.UTC) - POLLER_AGE
        polls = (poller.last_access_time.ToDatetime(dt.UTC) for poller in answer.pollers)
        if not any(poll > oldest for poll in polls):
            return f"No worker is polling the task queue {TASK_QUEUE_NAME}"
        return None

    def _handle(self, user_id: str) -> WorkflowHandle[BookingWorkflow, BookingResult]:
        return self._client.get_workflow_handle_for(BookingWorkflow.run, user_id)

    async def _trip(self, description: WorkflowExecutionDescription) -> Trip:
        trip = Trip(
            user_id=description.id,
            run_id=description.run_id,
            status="running",
            steps=[],
            started_at=description.start_time,
            closed_at=description.close_time,
        )
        match description.status:
            case WorkflowExecutionStatus.RUNNING:
                return await self._running(trip, description)
            case WorkflowExecutionStatus.COMPLETED:
                return await self._completed(trip)
            case WorkflowExecutionStatus.CANCELED:
                steps = (await description.memo()).get("steps", [])
                return replace(
                    trip, status="cancelled", reason="Cancelled on request", steps=_steps(steps)
                )
            case _:
                return replace(
                    trip,
                    status="needs_attention",
                    reason="The workflow was stopped from outside; reservations may still be held",
                    steps=await self._steps_in_history(description),
                )

    async def _running(self, trip: Trip, description: WorkflowExecutionDescription) -> Trip:
        try:
            progress = await self._handle(trip.user_id).query(
                BookingWorkflow.progress, rpc_timeout=QUERY_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError):
            steps = await self._steps_in_history(description)
            return replace(trip, steps=steps, stale=True)
        return replace(trip, status=progress.status, steps=progress.steps)

    async def _completed(self, trip: Trip) -> Trip:
        result = await self._handle(trip.user_id).result(rpc_timeout=RPC_TIMEOUT)
        booked = result["status"] == "success"
        return replace(
            trip,
            status="booked" if booked else "rolled_back",
            reason=None if booked else str(result["message"]),
            steps=_steps(result["steps"]),
        )

    async def _steps_in_history(
        self, description: WorkflowExecutionDescription
    ) -> list[StepProgress]:
        history = await self._handle(description.id).fetch_history(rpc_timeout=RPC_TIMEOUT)
        memo = await description.memo()
        items = {kind: str(memo.get(kind, "")) for kind in KINDS}
        return steps_in_history(
            items, history.events, description.raw_description.pending_activities
        )


def _steps(steps: list[dict[str, Any]]) -> list[StepProgress]:
    return [StepProgress(**step) for step in steps]
