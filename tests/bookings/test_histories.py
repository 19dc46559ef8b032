"""What the API reads off a history when no worker answers is what the workflow itself said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.converter import default

from bookings.histories import input_in, steps_in
from shared import StepProgress, steps_from_json

HISTORIES = Path(__file__).parent.parent / "saga" / "histories"
RECORDED = sorted(
    str(path.relative_to(HISTORIES).with_suffix("")) for path in HISTORIES.rglob("*.json")
)

NEVER_TAKEN = {"cancelled_before"}
"""Histories in which no worker took the first try, so its number is not told."""


def value_of(payload: Payload) -> Any:
    return default().payload_converter.from_payload(payload)


def steps_said_by(recorded: WorkflowHistory) -> list[StepProgress]:
    """Return the steps in the workflow's result, or in its memo when it was cancelled."""
    for event in reversed(recorded.events):
        match event.WhichOneof("attributes"):
            case "workflow_execution_completed_event_attributes":
                result = event.workflow_execution_completed_event_attributes.result
                return steps_from_json(value_of(result.payloads[0])["steps"])
            case "workflow_properties_modified_event_attributes":
                memo = event.workflow_properties_modified_event_attributes.upserted_memo
                return steps_from_json(value_of(memo.fields["steps"]))
    raise AssertionError("The history has no steps")


@pytest.mark.parametrize("name", RECORDED)
async def test_a_history_tells_the_steps_as_the_workflow_does(name: str) -> None:
    recorded = WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())
    book_input = await input_in(recorded.events, default())
    assert book_input is not None
    told = steps_in(recorded.events, book_input)
    for step, said in zip(told, steps_said_by(recorded), strict=True):
        # An operator's word is between the operator and the workflow.
        if said.state == "resolved":
            said = replace(said, state="stuck", held=step.held)
        assert (step.kind, step.item, step.state, step.held) == (
            said.kind,
            said.item,
            said.state,
            said.held,
        )
        assert step.undo_attempts == said.undo_attempts
        assert step.attempts == said.attempts or Path(name).name in NEVER_TAKEN


async def test_a_history_tells_the_last_error_in_the_suppliers_words() -> None:
    recorded = WorkflowHistory.from_json("", (HISTORIES / "failed_at_hotel.json").read_text())
    book_input = await input_in(recorded.events, default())
    assert book_input is not None
    errors = {step.kind: step.last_error for step in steps_in(recorded.events, book_input)}
    assert errors == {"car": None, "hotel": "Invalid hotel booking, rolling back!", "flight": None}


async def test_an_input_that_is_none_tells_no_steps() -> None:
    recorded = WorkflowHistory.from_json("", (HISTORIES / "booked.json").read_text())
    started = recorded.events[0].workflow_execution_started_event_attributes
    for text in (b'"five"', b"{}", b"nonsense"):
        started.input.payloads[0].data = text
        assert await input_in(recorded.events, default()) is None
    del started.input.payloads[:]
    assert await input_in(recorded.events, default()) is None
