"""What the API asks of Temporal: start a trip, wait for it, look it up, list, cancel, repair.

It knows nothing of HTTP. When Temporal cannot be asked, it raises `TemporalUnavailable`.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode

from callers import Caller
from cancellations import CancelBookingWorkflow
from histories import steps_in_history
from saga import STATUS_KEY
from shared import (
    BOOKING_OWNER_ATTRIBUTE,
    KINDS,
    TASK_QUEUE_NAME,
    BookingResult,
    BookVacationInput,
    Kind,
    SagaPolicy,
    StepProgress,
    StepState,
    TripStatus,
    cancellation_id,
    cancelled_trip,
)
from workflows import BookingWorkflow

RPC_TIMEOUT = dt.timedelta(seconds=5)
QUERY_TIMEOUT = dt.timedelta(seconds=2)
RESULT_RETRY_INTERVAL = 0.5

WORKFLOW_TASK_TIMEOUT = dt.timedelta(seconds=2)
"""For so long a worker that died with a workflow task in its hands holds its trip up. The tasks
take milliseconds; Temporal's default is 10 seconds."""

POLLER_AGE = dt.timedelta(seconds=75)
"""A live worker asks for work at least once a minute; an older poller is a dead worker's."""

TripHandle = WorkflowHandle[BookingWorkflow, BookingResult]

OWNER_KEY = SearchAttributeKey.for_keyword(BOOKING_OWNER_ATTRIBUTE)

STATUS_OF_RESULT: dict[str, TripStatus] = {
    "success": "booked",
    "failure": "rolled_back",
    "cancelled": "cancelled",
}
STARTED_AT = "started_at"
"""Name in the memo of a cancellation of when its trip was started."""
STOPPED = "The workflow was stopped from outside; reservations may still be held"
CANCELLED = "Cancelled on request"


class BookingsError(Exception):
    """The base of what can go wrong here."""


class TemporalUnavailable(BookingsError):
    """Temporal, or a worker behind it, could not be asked. A start may still have got through."""


class BookingNotFound(BookingsError):
    """There is no such trip, or it is not the caller's, or older than what Temporal keeps."""


class BookingDiffers(BookingsError):
    """A trip of that id was started already, with another request."""


class BookingConflict(BookingsError):
    """The trip's state does not allow what was asked; the message says why."""


class UnknownCursor(BookingsError):
    """The cursor is none that a list has given out."""


class CannotFilter(BookingsError):
    """The Temporal server lacks the search attributes that the filter needs."""


@dataclass(frozen=True)
class Outcome:
    """How a trip's workflow ended: with a `result`, or without one, for a `reason`."""

    result: BookingResult | None
    reason: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped from outside, with no chance to undo what was booked."""
        return self.reason == STOPPED


@dataclass(frozen=True)
class Trip:
    """A trip as it stands. `stale` says that no worker could be asked about its steps."""

    user_id: str
    workflow_id: str
    """The workflow that acts on the trip: its own, or its cancellation."""
    run_id: str
    owner: str
    status: TripStatus
    request: dict[str, str]
    started_at: dt.datetime
    closed_at: dt.datetime | None
    steps: list[StepProgress]
    reason: str | None = None
    stale: bool = False


@contextmanager
def _asking_temporal() -> Iterator[None]:
    """Translate the failure of a call to Temporal, whatever its form."""
    try:
        yield
    except RPCError as error:
        raise TemporalUnavailable(error.message) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise TemporalUnavailable("No worker took the request") from error
    except RuntimeError as error:
        if not _could_not_connect(error):
            raise
        raise TemporalUnavailable(str(error)) from error


class Bookings:
    """The bookings, as one Temporal client sees them."""

    def __init__(self, client: Client, policy: SagaPolicy) -> None:
        self._client = client
        self._policy = policy
        self._attributes_known = True
        self._waits: set[asyncio.Task[Outcome]] = set()
        self._stopping = False

    async def start(self, user_id: str, request: dict[str, str], owner: str) -> None:
        """Start the trip, unless the same one was started already.

        `request` has the name, the attempts, and the car, hotel and flight. Raises
        `BookingDiffers` when the id belongs to another request, and `TemporalUnavailable`.
        """
        with _asking_temporal():
            try:
                await self._start(
                    BookingWorkflow, user_id, self._input(user_id, request), request, owner
                )
            except WorkflowAlreadyStartedError:
                description = await self._handle(user_id).describe(rpc_timeout=RPC_TIMEOUT)
                if _request_in(await description.memo()) != request:
                    raise BookingDiffers from None

    async def outcome(self, user_id: str, seconds: float) -> Outcome | None:
        """Wait for the trip's workflow to end, `seconds` at the most; `None`: it goes on.

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
        for wait in list(self._waits):
            wait.cancel()

    async def look_up(self, user_id: str, caller: Caller) -> Trip:
        """Return the trip as it stands, its cancellation included.

        Raises `BookingNotFound` and `TemporalUnavailable`.
        """
        with _asking_temporal():
            description = await self._describe(user_id)
            if description is None or description.workflow_type != BookingWorkflow.__name__:
                raise BookingNotFound
            trip = await self._trip(description)
            if not caller.may_see(trip.owner):
                raise BookingNotFound
            if not _may_hold_after_closing(trip):
                return trip
            cancellation = await self._describe(cancellation_id(user_id))
            if cancellation is None:
                return trip
            undoing = await self._trip(cancellation)
            return replace(undoing, reason=CANCELLED)

    async def cancel(self, user_id: str, caller: Caller, seconds: float) -> Trip:
        """Undo the trip, running or booked, and return it after `seconds` at the most.

        Cancelling again changes nothing. Raises `BookingConflict` when it was rolled back anyway,
        `BookingNotFound` and `TemporalUnavailable`.
        """
        trip = await self.look_up(user_id, caller)
        if trip.closed_at is None:
            if trip.workflow_id == user_id:
                await self._cancel_running(user_id)
            await self.outcome(trip.workflow_id, seconds)
            # It may have been booked, or rolled back, before the cancellation reached it.
            trip = await self.look_up(user_id, caller)
        if trip.status == "rolled_back":
            raise BookingConflict("The booking was rolled back; nothing is left to cancel.")
        if _may_hold_after_closing(trip):
            await self._start_cancellation(trip)
            await self.outcome(cancellation_id(user_id), seconds)
            trip = await self.look_up(user_id, caller)
        return trip

    async def retry_undo(self, user_id: str, kind: Kind, caller: Caller) -> Trip:
        """Have a stuck undo tried again now. Doing so again changes nothing.

        Raises `BookingConflict` when it is not stuck, `BookingNotFound`, `TemporalUnavailable`.
        """

        async def retry(undoing: TripHandle) -> None:
            await undoing.execute_update(BookingWorkflow.retry_undo, kind, rpc_timeout=RPC_TIMEOUT)

        return await self._repair(user_id, kind, caller, retry, done=("undone", "resolved"))

    async def resolve_undo(self, user_id: str, kind: Kind, note: str, caller: Caller) -> Trip:
        """Take the caller's word that a stuck undo is settled. Doing so again changes nothing.

        Raises as `retry_undo` does.
        """

        async def resolve(undoing: TripHandle) -> None:
            await undoing.execute_update(
                BookingWorkflow.resolve_undo, args=[kind, note], rpc_timeout=RPC_TIMEOUT
            )

        return await self._repair(user_id, kind, caller, resolve, done=("resolved",))

    async def page(
        self, status: TripStatus | None, limit: int, cursor: str | None, caller: Caller
    ) -> tuple[list[Trip], str | None]:
        """Return a page of the caller's trips and the cursor of the next.

        Running trips come first, then those that ended last. Raises `UnknownCursor`,
        `CannotFilter` and `TemporalUnavailable`.
        """
        query = self._query(status, caller)
        token = _token(cursor, query)
        with _asking_temporal():
            pages = self._client.list_workflows(
                query, page_size=limit, next_page_token=token, rpc_timeout=RPC_TIMEOUT
            )
            try:
                await pages.fetch_next_page(page_size=limit)
            except RPCError as error:
                if _lacks_attribute(error):
                    raise CannotFilter(f"{STATUS_KEY.name} or {OWNER_KEY.name}") from None
                if token and error.status in (
                    RPCStatusCode.INVALID_ARGUMENT,
                    RPCStatusCode.UNKNOWN,
                ):
                    raise UnknownCursor from None
                raise
            rows = [await self._row(execution) for execution in pages.current_page or []]
            trips = await self._with_cancellations(rows)
        if status is not None:
            trips = [trip for trip in trips if trip.status == status]
        return trips, _cursor(pages.next_page_token, query)

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

    # Starting

    def _input(self, user_id: str, request: dict[str, str]) -> BookVacationInput:
        return BookVacationInput(
            attempts=int(request["attempts"]),
            book_user_id=user_id,
            book_car_id=request["car"],
            book_hotel_id=request["hotel"],
            book_flight_id=request["flight"],
            policy=self._policy,
        )

    async def _start(
        self,
        workflow: type[BookingWorkflow | CancelBookingWorkflow],
        workflow_id: str,
        book_input: BookVacationInput,
        request: dict[str, str],
        owner: str,
        **policies: Any,
    ) -> None:
        items = " · ".join([request["name"], *(request[kind] for kind in KINDS)])
        attributes = TypedSearchAttributes(
            [SearchAttributePair(STATUS_KEY, "running"), SearchAttributePair(OWNER_KEY, owner)]
        )
        arguments: dict[str, Any] = {
            "id": workflow_id,
            "task_queue": TASK_QUEUE_NAME,
            # A trip's id is its own for as long as the namespace retains it.
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
            "memo": {**request, "owner": owner},
            "static_summary": items,
            "task_timeout": WORKFLOW_TASK_TIMEOUT,
            "rpc_timeout": RPC_TIMEOUT,
            **policies,
        }
        if self._attributes_known:
            try:
                await self._client.start_workflow(
                    workflow.run, book_input, search_attributes=attributes, **arguments
                )
            except RPCError as error:
                if not _lacks_attribute(error):
                    raise
                # This server lacks the search attributes: trips are booked without them.
                self._attributes_known = False
            else:
                return
        await self._client.start_workflow(workflow.run, book_input, **arguments)

    # Cancelling and repairing

    async def _cancel_running(self, user_id: str) -> None:
        with _asking_temporal():
            try:
                await self._handle(user_id).cancel(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                # It has closed in the meantime.

    async def _start_cancellation(self, trip: Trip) -> None:
        # One that was started already is as good.
        with _asking_temporal(), contextlib.suppress(WorkflowAlreadyStartedError):
            await self._start(
                CancelBookingWorkflow,
                cancellation_id(trip.user_id),
                self._input(trip.user_id, trip.request),
                trip.request,
                trip.owner,
                memo={**trip.request, "owner": trip.owner, STARTED_AT: trip.started_at.isoformat()},
                # Once is enough, but one that was stopped from outside may be started again.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

    async def _repair(
        self,
        user_id: str,
        kind: Kind,
        caller: Caller,
        ask: Callable[[TripHandle], Awaitable[None]],
        done: Sequence[StepState],
    ) -> Trip:
        """Ask for the repair of an undo, and return the trip.

        A trip that has closed in the meantime is fine when its step is in one of the states `done`:
        the same repair was asked for before.
        """
        trip = await self.look_up(user_id, caller)
        if trip.closed_at is None:
            with _asking_temporal(), _refusing():
                await ask(self._handle(trip.workflow_id))
            trip = await self.look_up(user_id, caller)
        state = next(step.state for step in trip.steps if step.kind == kind)
        if trip.closed_at is not None and state not in done:
            raise BookingConflict(
                f"The {kind} is {state} and the trip {trip.status}; no undo is under way."
            )
        return trip

    # Looking up

    def _handle(self, workflow_id: str) -> TripHandle:
        # A cancellation's queries, updates and result are those of the booking itself.
        return self._client.get_workflow_handle_for(BookingWorkflow.run, workflow_id)

    async def _describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        try:
            return await self._handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            # An id that Temporal calls invalid (too long, say) is no trip's id.
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                return None
            raise

    async def _outcome(self, workflow_id: str) -> Outcome:
        handle = self._handle(workflow_id)
        while True:
            try:
                return Outcome(await handle.result())
            except WorkflowFailureError as error:
                cancelled = isinstance(error.cause, CancelledError)
                return Outcome(None, CANCELLED if cancelled else STOPPED)
            except RPCError:
                await asyncio.sleep(RESULT_RETRY_INTERVAL)

    async def _trip(self, description: WorkflowExecutionDescription) -> Trip:
        trip = await self._row(description)
        match description.status:
            case WorkflowExecutionStatus.RUNNING:
                return await self._running(trip, description)
            case WorkflowExecutionStatus.COMPLETED:
                result = await self._handle(description.id).result(rpc_timeout=RPC_TIMEOUT)
                return _ended(trip, result)
            case WorkflowExecutionStatus.CANCELED:
                steps = (await description.memo()).get("steps", [])
                return replace(trip, reason=CANCELLED, steps=_steps(steps))
            case _:
                steps = await self._steps_in_history(description)
                return replace(trip, reason=STOPPED, steps=steps)

    async def _running(self, trip: Trip, description: WorkflowExecutionDescription) -> Trip:
        try:
            progress = await self._handle(description.id).query(
                BookingWorkflow.progress, rpc_timeout=QUERY_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError):
            steps = await self._steps_in_history(description)
            return replace(trip, steps=steps, stale=True)
        return replace(trip, status=progress.status, steps=progress.steps)

    async def _steps_in_history(
        self, description: WorkflowExecutionDescription
    ) -> list[StepProgress]:
        history = await self._handle(description.id).fetch_history(rpc_timeout=RPC_TIMEOUT)
        memo = await description.memo()
        items = {kind: str(memo.get(kind, "")) for kind in KINDS}
        return steps_in_history(
            items, history.events, description.raw_description.pending_activities
        )

    # Listing

    def _query(self, status: TripStatus | None, caller: Caller) -> str:
        # Only constants and checked names go into the query: nothing a client can write freely.
        conditions = [f"WorkflowType = '{BookingWorkflow.__name__}'"]
        if status is not None:
            types = f"'{BookingWorkflow.__name__}', '{CancelBookingWorkflow.__name__}'"
            conditions = [f"WorkflowType IN ({types})", _status_condition(status)]
        if not caller.operator:
            conditions.append(f"{OWNER_KEY.name} = '{caller.name}'")
        return " AND ".join(conditions)

    async def _row(self, execution: WorkflowExecution) -> Trip:
        """Return what the workflow's execution alone tells of its trip."""
        status = execution.typed_search_attributes.get(STATUS_KEY)
        match execution.status:
            case WorkflowExecutionStatus.RUNNING:
                status = status or "running"
            case WorkflowExecutionStatus.CANCELED:
                status = "cancelled"
            case WorkflowExecutionStatus.COMPLETED:
                if status is None:
                    result = await self._handle(execution.id).result(rpc_timeout=RPC_TIMEOUT)
                    status = STATUS_OF_RESULT[result["status"]]
            case _:
                status = "needs_attention"
        memo = await execution.memo()
        return Trip(
            user_id=cancelled_trip(execution.id) or execution.id,
            workflow_id=execution.id,
            run_id=execution.run_id,
            owner=str(memo.get("owner", "")),
            status=cast(TripStatus, status),
            request=_request_in(memo),
            started_at=_started_at(memo) or execution.start_time,
            closed_at=execution.close_time,
            steps=[],
        )

    async def _with_cancellations(self, trips: list[Trip]) -> list[Trip]:
        """Show booked trips that were cancelled afterwards as their cancellations."""
        booked = [trip for trip in trips if _may_hold_after_closing(trip)]
        if not booked:
            return trips
        ids = ", ".join(_quoted(cancellation_id(trip.user_id)) for trip in booked)
        cancellations: dict[str, Trip] = {}
        async for execution in self._client.list_workflows(f"WorkflowId IN ({ids})"):
            undoing = await self._row(execution)
            # The newest run comes first; older ones were stopped from outside.
            cancellations.setdefault(undoing.user_id, undoing)
        return [cancellations.get(trip.user_id, trip) for trip in trips]


def _lacks_attribute(error: RPCError) -> bool:
    return error.status == RPCStatusCode.INVALID_ARGUMENT and "attribute" in error.message


def _could_not_connect(error: RuntimeError) -> bool:
    # This is how a lazy client fails on its first call; the SDK has no type of its own for it.
    return str(error).startswith("Failed client connect")


@contextmanager
def _refusing() -> Iterator[None]:
    """Translate a workflow's refusal of an update. One that has closed refuses nothing."""
    try:
        yield
    except WorkflowUpdateFailedError as error:
        if not isinstance(error.cause, ApplicationError):
            raise
        raise BookingConflict(f"{error.cause.message}.") from error
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise


def _may_hold_after_closing(trip: Trip) -> bool:
    """Tell whether the trip's own workflow is over and has left reservations behind."""
    return trip.closed_at is not None and trip.status in ("booked", "needs_attention")


def _ended(trip: Trip, result: BookingResult) -> Trip:
    status = STATUS_OF_RESULT[result["status"]]
    reason = str(result["message"]) if status == "rolled_back" else None
    return replace(trip, status=status, reason=reason, steps=_steps(result["steps"]))


def _steps(steps: list[dict[str, Any]]) -> list[StepProgress]:
    return [StepProgress(**step) for step in steps]


def _request_in(memo: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(memo.get(name, "")) for name in ("name", "attempts", *KINDS)}


def _started_at(memo: Mapping[str, Any]) -> dt.datetime | None:
    """Return when the trip was started whose cancellation has this memo."""
    return dt.datetime.fromisoformat(memo[STARTED_AT]) if STARTED_AT in memo else None


def _status_condition(status: TripStatus) -> str:
    recorded = f"{STATUS_KEY.name} = '{status}'"
    match status:
        # A workflow that was stopped from outside could not record it.
        case "running":
            return f"{recorded} AND ExecutionStatus = 'Running'"
        case "needs_attention":
            return f"({recorded} OR ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut'))"
        case _:
            return recorded


def _quoted(value: str) -> str:
    """Return `value` as a string of a visibility query. Other clients choose their ids freely."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _cursor(token: bytes | None, query: str) -> str | None:
    if not token:
        return None
    content = {"query": query, "token": base64.b64encode(token).decode()}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _token(cursor: str | None, query: str) -> bytes | None:
    """Return Temporal's page token in `cursor`, which is only good for the query it came from."""
    if cursor is None:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor))
        if content["query"] != query:
            raise UnknownCursor
        return base64.b64decode(content["token"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnknownCursor from None
