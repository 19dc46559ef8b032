"""How the tests start a trip, wait for a state of it and read what became of it."""

import asyncio
import datetime as dt
import uuid
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

import run_worker
from record import Record, StepProgress
from shared import (
    KINDS,
    TASK_QUEUE_NAME,
    BookingResult,
    BookVacationInput,
    Execution,
    Kind,
    StepState,
    cancellation_id,
)
from tests.conftest import TEMPORAL_CLI
from tests.faults import DEADLINE, FaultyRecord, Gate, workflow_half
from workflows import BookingWorkflow, CancelBookingWorkflow

Answer = TypeVar("Answer")

BOOK_ALL = [f"book_{kind}" for kind in KINDS]
UNDO_ALL = [f"undo_book_{kind}" for kind in reversed(KINDS)]
"""The activities of a trip that is booked, and of one that is undone, in their order."""

Trip = WorkflowHandle[BookingWorkflow, BookingResult]
Cancellation = WorkflowHandle[CancelBookingWorkflow, BookingResult]


async def start(
    client: Client,
    book_input: BookVacationInput,
    task_timeout: dt.timedelta | None = None,
    start_delay: dt.timedelta | None = None,
) -> Trip:
    return await client.start_workflow(
        BookingWorkflow.run,
        book_input,
        id=book_input.book_user_id,
        task_queue=TASK_QUEUE_NAME,
        task_timeout=task_timeout,
        start_delay=start_delay,
    )


async def start_cancellation(client: Client, book_input: BookVacationInput) -> Cancellation:
    """Start to cancel a trip whose own workflow is over."""
    booked = await client.get_workflow_handle(book_input.book_user_id).describe()
    trip = replace(book_input, execution=Execution(booked.id, booked.run_id))
    return await client.start_workflow(
        CancelBookingWorkflow.run,
        trip,
        id=cancellation_id(book_input.book_user_id),
        task_queue=TASK_QUEUE_NAME,
    )


def execution_of(trip: Trip) -> Execution:
    """Return the execution that a trip belongs to which `start` has started."""
    return Execution(trip.id, trip.first_execution_run_id or "")


async def reset(client: Client, trip: Trip, event_id: int) -> None:
    """Reset a trip's workflow to the workflow task that ended with that event."""
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=trip.id),
            reason="test",
            workflow_task_finish_event_id=event_id,
            request_id=uuid.uuid4().hex,
        )
    )


async def reset_to(client: Client, trip: Trip, task: int) -> Trip:
    """Reset a trip's workflow to one of its workflow tasks, and return the run that goes on."""
    await reset(client, trip, (await workflow_tasks(trip))[task])
    return client.get_workflow_handle_for(BookingWorkflow.run, trip.id)


async def replay(client: Client, *runs: Trip | Cancellation) -> None:
    """Replay what has become of some runs. Raises when one is not deterministic."""
    replayer = Replayer(workflows=run_worker.WORKFLOWS, data_converter=client.data_converter)
    for run in runs:
        await replayer.replay_workflow(await run.fetch_history())


async def workflow_tasks(trip: WorkflowHandle[Any, Any]) -> list[int]:
    """Return the events with which the trip's workflow tasks ended."""
    return [
        event.event_id
        for event in await events(trip)
        if event.HasField("workflow_task_completed_event_attributes")
    ]


async def temporal(client: Client, *command: str) -> str:
    """Run a command of Temporal's own CLI, as an operator types it, and return what it prints."""
    address = ("--address", client.service_client.config.target_host)
    told = await asyncio.create_subprocess_exec(
        TEMPORAL_CLI, *command, *address, stdout=PIPE, stderr=PIPE
    )
    printed, error = await told.communicate()
    assert told.returncode == 0, error.decode()
    return printed.decode()


async def delete(client: Client, workflow_id: str) -> None:
    """Have Temporal forget a workflow, as it does at the end of its retention."""
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )
    )

    async def forgotten() -> bool:
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            return error.status == RPCStatusCode.NOT_FOUND
        return False

    await eventually(forgotten)


async def result_of(workflow: Trip | Cancellation) -> BookingResult:
    async with asyncio.timeout(DEADLINE):
        return await workflow.result()


async def cancelled(trip: Trip) -> None:
    """Wait until the trip has closed as Canceled."""
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(WorkflowFailureError) as failure:
            await trip.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert (await trip.describe()).status == WorkflowExecutionStatus.CANCELED


async def steps_of(record: Record, trip: Trip) -> dict[Kind, StepProgress]:
    """Return the trip's steps as the record tells of them."""
    row = await record.trips.by_id(trip.id)
    return {} if row is None else {step.kind: step for step in row.steps}


def untimed(step: StepProgress) -> StepProgress:
    """Return the step without its times, which decide nothing."""
    return replace(step, booking_seconds=None, undo_seconds=None)


async def eventually(ask: Callable[[], Awaitable[Answer | None]]) -> Answer:
    """Ask again and again until the answer is neither empty nor `None`, and return it."""
    async with asyncio.timeout(DEADLINE):
        while not (answer := await ask()):
            await asyncio.sleep(0.01)
    return answer


async def until(
    workflow: Trip | Cancellation, condition: Callable[[dict[Kind, StepState]], bool]
) -> dict[Kind, StepState]:
    """Wait until the states of an open workflow's steps meet `condition` and return them."""

    async def met() -> dict[Kind, StepState] | None:
        steps = await cast(Trip, workflow).query(BookingWorkflow.progress)
        return steps if condition(steps) else None

    return await eventually(met)


async def until_failed(workflow: Trip | Cancellation, tries: int) -> PendingActivityInfo:
    """Wait until the activity that runs, or waits to run again, has failed so often."""

    async def failed() -> PendingActivityInfo | None:
        pending = (await workflow.describe()).raw_description.pending_activities
        return next((each for each in pending if each.attempt > tries), None)

    return await eventually(failed)


async def until_stuck(workflow: Trip | Cancellation, *kinds: Kind) -> dict[Kind, StepState]:
    """Wait until the undo of exactly `kinds` is stuck and every other one is over."""

    def is_so(steps: dict[Kind, StepState]) -> bool:
        stuck = {kind for kind, state in steps.items() if state == "stuck"}
        return stuck == set(kinds) and "undoing" not in steps.values()

    return await until(workflow, is_so)


async def retry_undo(stuck: Trip | Cancellation, kind: Kind) -> None:
    await cast(Trip, stuck).execute_update(BookingWorkflow.retry_undo, kind)


async def resolve_undo(stuck: Trip | Cancellation, kind: Kind, note: str) -> None:
    await cast(Trip, stuck).execute_update(BookingWorkflow.resolve_undo, args=[kind, note])


async def held(record: Record, trip: Trip) -> list[Kind]:
    """Return what the record holds for the trip."""
    return [row.kind for row in await record.reservations.of(trip.id) if row.state == "reserved"]


async def events(workflow: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    return list((await workflow.fetch_history()).events)


async def activities_of(workflow: WorkflowHandle[Any, Any]) -> list[str]:
    """Return the names of the activities that the workflow ran, in their order."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in await events(workflow)
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def failed_workflow_tasks(workflow: WorkflowHandle[Any, Any]) -> list[str]:
    """Return why workflow tasks of a workflow have failed.

    Not those that the SDK gave up after 2 s: that is a busy machine's, and the next one passes.
    """
    failures = [
        event.workflow_task_failed_event_attributes.failure.message
        for event in await events(workflow)
        if event.HasField("workflow_task_failed_event_attributes")
    ]
    return [message for message in failures if "[TMPRL1101] Potential deadlock" not in message]


async def book_and_cancel_unseen(
    client: Client,
    faults: FaultyRecord,
    trip: Trip,
    kind: Kind,
    first: Literal["answer", "cancel"],
) -> None:
    """Bring a trip to where its step of `kind` is booked and a cancel is requested, in the order
    told, and its workflow has seen neither. Only activities have a worker before and after."""
    faults.faults["reserve", kind] = gate = Gate()
    async with workflow_half(client):
        await gate.reached()
    if first == "cancel":
        await trip.cancel()
    assert await gate.open() == [None]

    async def is_booked() -> bool:
        completed = [
            event
            for event in await events(trip)
            if event.HasField("activity_task_completed_event_attributes")
        ]
        return len(completed) > KINDS.index(kind)

    await eventually(is_booked)
    if first == "answer":
        await trip.cancel()
