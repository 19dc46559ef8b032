"""What surrounds every try of an activity, seen through a real server and worker."""

import asyncio
import dataclasses
import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.envconfig import ClientConnectConfig
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

import activities
import reservations
from activities import Suppliers
from conftest import IMPATIENT, TEMPORAL_CLI, running_worker, trip
from faults import Gate, faulty_worker
from interceptors import TryInterceptor
from reservations import ReservationStore
from settings import connect
from shared import BookVacationInput, StepProgress, TryReport
from trips import Trip, cancelled_steps, events, result_of, start, steps_by_kind, until

HOTEL_DOWN = "Hotel service is down. Retrying..."
STORE_DOWN = "The reservation store is unavailable"

ENDLESS = 1_000_000
"""More tries than a slow machine makes before a test has looked."""

PATIENT = dataclasses.replace(IMPATIENT, step_deadline=600.0, undo_attempts=ENDLESS)


async def test_heartbeats_keep_a_slow_try_alive(client: Client, store: ReservationStore) -> None:
    policy = dataclasses.replace(IMPATIENT, heartbeat_timeout=0.5)
    async with running_worker(client, Suppliers(store, hotel_latency=1.2)):
        result = await result_of(await start(client, trip(policy=policy)))
    assert result["status"] == "success"
    assert steps_by_kind(result)["hotel"] == StepProgress(
        "hotel", "valid-hotel-id", "booked", attempts=1
    )


async def test_the_progress_tells_of_each_failed_try_of_a_booking(
    client: Client, store: ReservationStore
) -> None:
    async with running_worker(client, Suppliers(store, hotel_outage_attempts=ENDLESS)):
        booking = await start(client, trip(attempts=ENDLESS, policy=PATIENT))
        progress = await until(booking, lambda steps: steps["hotel"].attempts >= 3)
        assert progress.status == "running"
        assert [(step.state, step.last_error) for step in progress.steps] == [
            ("booked", None),
            ("booking", HOTEL_DOWN),
            ("pending", None),
        ]
        await booking.cancel()
        await cancelled_steps(booking)


async def test_the_progress_tells_of_each_failed_try_of_an_undo(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "BUSY_TIMEOUT", 0.01)
    async with ReservationStore.open(f"sqlite:///{tmp_path}/locked.db") as store:
        await store.migrate()
        async with running_worker(client, Suppliers(store, hotel_outage_attempts=ENDLESS)):
            booking = await start(client, trip(attempts=ENDLESS, policy=PATIENT))
            await until(booking, lambda steps: steps["hotel"].attempts >= 1)
            with closing(sqlite3.connect(tmp_path / "locked.db")) as writer:
                writer.execute("BEGIN IMMEDIATE")
                await booking.cancel()
                progress = await until(booking, lambda steps: steps["hotel"].undo_attempts >= 3)
            assert progress.steps[1].last_error == STORE_DOWN
            assert progress.steps[1].state == "undoing"
            steps = await cancelled_steps(booking)
    assert steps["hotel"].state == steps["car"].state == "undone"


async def test_each_try_reports_its_beginning_and_its_failure_except_the_first_and_the_last(
    client: Client, store: ReservationStore
) -> None:
    async with running_worker(client, Suppliers(store, hotel_outage_attempts=ENDLESS)):
        booking = await start(client, trip(attempts=3))
        await result_of(booking)
    # That the first has begun, and that the last has failed, the workflow knows by itself.
    assert await reports_to(booking) == [
        TryReport("hotel", False, 1, HOTEL_DOWN),
        TryReport("hotel", False, 2),
        TryReport("hotel", False, 2, HOTEL_DOWN),
        TryReport("hotel", False, 3),
    ]


async def test_what_is_never_tried_again_is_not_reported(client: Client, worker: None) -> None:
    booking = await start(client, trip(book_flight_id="invalid"))
    assert (await result_of(booking))["status"] == "failure"
    assert await reports_to(booking) == []


@pytest.fixture
async def closed_trip(client: Client, worker: None) -> BookVacationInput:
    """A trip whose workflow has closed."""
    booked = trip()
    await result_of(await start(client, booked))
    return booked


async def test_a_lost_report_does_not_fail_the_try(
    client: Client, closed_trip: BookVacationInput, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "temporalio.activity"):
        assert await surrounded(client, closed_trip, attempt=2) == "valid-hotel-id"
    assert "Could not report try 2 of hotel: workflow execution already completed" in caplog.text


async def test_a_lost_report_does_not_hide_why_a_try_failed(
    client: Client, store: ReservationStore, closed_trip: BookVacationInput
) -> None:
    activities.suppliers.set(Suppliers(store, hotel_outage_attempts=1))
    with pytest.raises(RuntimeError, match=HOTEL_DOWN):
        await surrounded(client, closed_trip, attempt=1)


async def test_a_server_that_is_away_does_not_fail_the_try(store: ReservationStore) -> None:
    activities.suppliers.set(Suppliers(store))
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL_CLI)
    ) as environment:
        address = environment.client.service_client.config.target_host
        client = await connect(ClientConnectConfig(target_host=address))
    async with asyncio.timeout(5):
        assert await surrounded(client, trip(), attempt=2) == "valid-hotel-id"


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [(1, "TASK_QUEUE_KIND_STICKY"), (2, "TASK_QUEUE_KIND_NORMAL")],
)
async def test_a_repeated_try_frees_its_workflow_from_a_worker_that_may_be_dead(
    client: Client, store: ReservationStore, attempt: int, kind: str
) -> None:
    async with faulty_worker(client, store) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        booking = await start(client, trip())
        await gate.reached()
        activities.suppliers.set(Suppliers(store, hotel_outage_attempts=attempt))
        with pytest.raises(RuntimeError, match=HOTEL_DOWN):
            await surrounded(client, trip(book_user_id=booking.id), attempt)
        await gate.open()
        await result_of(booking)
    # What the workflow was told first is how that try went.
    after_report = itertools.dropwhile(
        lambda event: not event.HasField("workflow_execution_signaled_event_attributes"),
        await events(booking),
    )
    queues = (
        event.workflow_task_scheduled_event_attributes.task_queue.kind
        for event in after_report
        if event.HasField("workflow_task_scheduled_event_attributes")
    )
    assert TaskQueueKind.Name(next(queues)) == kind


class _Innermost(ActivityInboundInterceptor):
    """Stands at the end of the chain, as the SDK's own does in a worker."""

    def __init__(self) -> None:
        pass

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002
        return await input.fn(*input.args)


async def surrounded(client: Client, book_input: BookVacationInput, attempt: int) -> object:
    """Run one try of `book_hotel` for a trip whose workflow is not there to hear of it."""
    environment = ActivityEnvironment(client)
    environment.info = dataclasses.replace(
        environment.info,
        activity_type="book_hotel",
        attempt=attempt,
        retry_policy=RetryPolicy(maximum_attempts=3),
        workflow_id=book_input.book_user_id,
        workflow_run_id=None,
    )
    hotel = ExecuteActivityInput(activities.book_hotel, [book_input], executor=None, headers={})
    chain = TryInterceptor().intercept_activity(_Innermost())
    return await environment.run(chain.execute_activity, hotel)


async def reports_to(booking: Trip) -> list[TryReport]:
    """Return the reports in the history of a booking, in their order."""
    signals = [
        event.workflow_execution_signaled_event_attributes
        for event in await events(booking)
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    return [TryReport(**json.loads(signal.input.payloads[0].data)) for signal in signals]
