"""What starts a trip may come from anywhere: the CLI, a schedule, another SDK.

What is no input of a trip fails its workflow, with one line that says what is wrong. The five
fields of the tutorial are enough.
"""

import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput
from tests.conftest import trip
from tests.faults import DEADLINE
from tests.saga.stage import Stage
from tests.saga.test_deadline import within
from tests.trips import (
    Trip,
    cancelled,
    events,
    failed_workflow_tasks,
    held,
    replay,
    result_of,
    start,
    temporal,
)
from tests.workers import running_all, work_with
from workflows import BookingWorkflow


def five(**changes: Any) -> dict[str, Any]:
    """Return the five fields that the tutorial's input has, changed as told."""
    valid = trip()
    fields = ("attempts", "book_user_id", *(f"book_{kind}_id" for kind in KINDS))
    return {name: getattr(valid, name) for name in fields} | changes


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in five().items() if key != name}


def as_told(data: bytes, encoding: str, **metadata: bytes) -> RawValue:
    """Return an input as another SDK may have told it."""
    return RawValue(Payload(metadata={"encoding": encoding.encode(), **metadata}, data=data))


ODD: list[tuple[list[Any], str]] = [
    ([], "A trip has one input; this has 0"),
    ([five(), 5], "this has 2"),
    ([5, "cli-1", "car", "hotel", "flight"], "this has 5"),
    ([as_told(b"{", "json/plain")], "Not the input of a trip: Payload at index 0"),
    ([as_told(b"{}", "json/protobuf", messageType=b"example.Trip")], "Payload at index 0"),
    ([as_told(b"{}", "of our own")], "Unknown payload encoding of our own"),
    ([None], "Input should be"),
    (["cli-1"], "Input should be"),
    ([[1]], "Input should be"),
    ([b"\xff"], "Input should be"),
    *(([five(attempts=odd)], "attempts Input should be") for odd in ("5", 0, -1, 3_000_000_000)),
    *(([five(attempts=odd)], "attempts Input should be") for odd in (1.5, True, None)),
    *(([five(book_hotel_id=odd)], "book_hotel_id Input should be") for odd in (None, 7, ["x"])),
    ([without("book_car_id")], "book_car_id Field required"),
    ([five(book_user_id="")], "book_user_id String should have at least 1 character"),
    ([five(policy={"retry_interval": -1})], "policy.retry_interval Input should be greater than 0"),
    ([five(policy={"own_queues": ["boat"]})], "policy.own_queues.0 Input should be"),
    ([five(policy=None)], "policy Input should be"),
]


@pytest.mark.parametrize("workflow", ["BookingWorkflow", "CancelBookingWorkflow"])
async def test_what_is_no_input_fails_its_workflow_and_says_why(
    stage: Stage, client: Client, workflow: str
) -> None:
    for number, (told, wrong) in enumerate(ODD):
        running = await client.start_workflow(
            workflow,
            args=told,
            id=f"{trip().book_user_id}-{number}",
            task_queue=TASK_QUEUE_NAME,
            execution_timeout=dt.timedelta(seconds=DEADLINE),
        )
        with pytest.raises(WorkflowFailureError) as failure:
            await running.result()
        assert isinstance(failure.value.cause, ApplicationError), told
        message = failure.value.cause.message
        assert wrong in message and "\n" not in message
        assert "valid-" not in message, "No value is repeated"
        assert await failed_workflow_tasks(running) == []


async def by_cli(client: Client, told: dict[str, Any], *more: str) -> Trip:
    """Have the CLI start a trip."""
    words = ("--type", "BookingWorkflow", "--task-queue", TASK_QUEUE_NAME)
    where = ("--workflow-id", told["book_user_id"], "--input", json.dumps(told))
    await temporal(client, "workflow", "start", "--fail-existing", *words, *where, *more)
    return client.get_workflow_handle_for(BookingWorkflow.run, told["book_user_id"])


async def test_the_clis_five_fields_get_the_workers_settings(
    empty_stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So it has a task queue of its own, which keeps the rate.
    monkeypatch.setenv("HOTEL_SUPPLIER_CALLS_PER_SECOND", "100")
    settings = work_with(empty_stage.record, step_deadline_seconds=300, try_timeout_seconds=62)
    async with running_all(client, settings):
        booking = await by_cli(client, five(book_flight_id="invalid-flight-id"))
        assert (await result_of(booking))["status"] == "failure"
    scheduled = [
        told
        for event in await events(booking)
        if (told := event.activity_task_scheduled_event_attributes).activity_id
    ]
    assert {told.schedule_to_close_timeout.seconds for told in scheduled} == {300}
    assert {told.start_to_close_timeout.seconds for told in scheduled} == {2 * 62 + 60}
    own = {told.activity_type.name for told in scheduled if told.task_queue.name.endswith("hotel")}
    assert own == {"book_hotel", "undo_book_hotel"}
    await replay(client, booking)


@pytest.mark.shape("by_others/booked")
async def test_an_input_in_python_without_a_policy_gets_the_workers_settings(
    empty_stage: Stage, client: Client
) -> None:
    async with empty_stage.worker(step_deadline_seconds=61):
        booking = await start(client, BookVacationInput(**five()))
        empty_stage.workflows.append(booking)
        await result_of(booking)
    scheduled = [each.activity_task_scheduled_event_attributes for each in await events(booking)]
    limits = {each.schedule_to_close_timeout.seconds for each in scheduled if each.activity_id}
    assert limits == {61}


async def test_a_cancel_of_a_trip_without_settings_is_carried_out(
    empty_stage: Stage, client: Client
) -> None:
    booking = await start(client, BookVacationInput(**five()))
    await booking.cancel()
    async with empty_stage.worker():
        await cancelled(booking)
    await replay(client, booking)


async def test_the_deadline_of_a_delayed_trip_begins_when_its_workflow_does(
    stage: Stage, client: Client
) -> None:
    told = five(policy=dataclasses.asdict(within(5)))
    booking = await by_cli(client, told, "--start-delay", "6s")
    assert (await result_of(booking))["status"] == "success"
    assert await held(stage.record, booking) == list(KINDS)
    await replay(client, booking)
