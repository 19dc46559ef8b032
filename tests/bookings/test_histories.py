"""What the API reads off a history when no worker answers is what the workflow itself said."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowHistory
from temporalio.converter import default

from bookings.histories import steps_in_history
from shared import KINDS, StepProgress

HISTORIES = sorted((Path(__file__).parent.parent / "saga" / "histories").glob("*.json"))

UNKNOWN: dict[str, set[tuple[str, str]]] = {
    # A step that no worker took before it was cancelled shows as never tried.
    "cancelled_before": {("car", "attempts")},
    # A try that failed is in the history when the next one begins or the last one is over.
    "cancelled_between_tries": {("hotel", "last_error")},
    # The history has the server's words for it.
    "failed_at_its_deadline": {("car", "last_error")},
    # An operator's word is between the operator and the workflow.
    "stuck_and_cancelled": {("hotel", "state"), ("hotel", "note")},
    "stuck_and_resolved": {("hotel", "state"), ("hotel", "note")},
}
"""What a history does not tell, by the history, the kind and the member."""


def history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (HISTORIES[0].parent / f"{name}.json").read_text())


def value_of(payload: Payload) -> Any:
    return default().payload_converter.from_payload(payload)


def items_of(recorded: WorkflowHistory) -> dict[Any, str]:
    started = recorded.events[0].workflow_execution_started_event_attributes
    book_input = value_of(started.input.payloads[0])
    return {kind: book_input[f"book_{kind}_id"] for kind in KINDS}


def steps_said_by(recorded: WorkflowHistory) -> list[dict[str, Any]]:
    """Return the steps in the workflow's result, or in its memo when it was cancelled."""
    for event in reversed(recorded.events):
        match event.WhichOneof("attributes"):
            case "workflow_execution_completed_event_attributes":
                result = event.workflow_execution_completed_event_attributes.result
                return list(value_of(result.payloads[0])["steps"])
            case "workflow_properties_modified_event_attributes":
                memo = event.workflow_properties_modified_event_attributes.upserted_memo
                return list(value_of(memo.fields["steps"]))
    raise AssertionError("The workflow has said nothing of its steps")


@pytest.mark.parametrize("name", [path.stem for path in HISTORIES])
def test_a_history_tells_the_steps_as_the_workflow_does(name: str) -> None:
    recorded = history(name)
    read = [vars(step) for step in steps_in_history(items_of(recorded), recorded.events, [])]
    different = {
        (step["kind"], member)
        for step, said in zip(read, steps_said_by(recorded), strict=True)
        for member in said
        if step[member] != said[member]
    }
    assert different == UNKNOWN.get(name, set())


def test_a_pending_try_shows_how_often_and_why_it_was_repeated() -> None:
    recorded = history("retried")
    scheduled = next(
        index
        for index, event in enumerate(recorded.events)
        if event.activity_task_scheduled_event_attributes.activity_type.name == "book_hotel"
    )
    pending = PendingActivityInfo(
        state=PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED,
        attempt=4,
        last_failure=Failure(message="The store is down"),
    )
    pending.activity_type.name = "book_hotel"
    items = items_of(recorded)
    car, hotel, flight = steps_in_history(items, recorded.events[: scheduled + 1], [pending])
    assert car.state == "booked"
    assert hotel == StepProgress(
        "hotel", items["hotel"], "booking", attempts=4, last_error="The store is down"
    )
    assert flight == StepProgress("flight", items["flight"])
