"""What the API reads off a history when no worker answers is what the workflow itself said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory

from bookings.histories import input_in, steps_in
from connection import Encryption, converter_of
from shared import StepProgress, steps_from_json
from tests.encrypting import KEYS

HISTORIES = Path(__file__).parent.parent / "saga" / "histories"
RECORDED = sorted(
    str(path.relative_to(HISTORIES).with_suffix("")) for path in HISTORIES.rglob("*.json")
)

NEVER_TAKEN = {"cancelled_before"}
"""Histories in which no worker took the first try, so its number is not told."""


DECRYPTING = converter_of(Encryption(KEYS, "new"))


async def value_of(payload: Payload) -> Any:
    (value,) = await DECRYPTING.decode([payload])
    return value


async def steps_said_by(recorded: WorkflowHistory) -> list[StepProgress]:
    """Return the steps in the workflow's result, or in its memo when it was cancelled."""
    for event in reversed(recorded.events):
        match event.WhichOneof("attributes"):
            case "workflow_execution_completed_event_attributes":
                result = event.workflow_execution_completed_event_attributes.result
                return steps_from_json((await value_of(result.payloads[0]))["steps"])
            case "workflow_properties_modified_event_attributes":
                memo = event.workflow_properties_modified_event_attributes.upserted_memo
                return steps_from_json(await value_of(memo.fields["steps"]))
    raise AssertionError("The history has no steps")


@pytest.mark.parametrize("name", RECORDED)
async def test_a_history_tells_the_steps_as_the_workflow_does(name: str) -> None:
    recorded = WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())
    book_input = await input_in(recorded.events, DECRYPTING)
    assert book_input is not None
    told = await steps_in(recorded.events, book_input, DECRYPTING)
    for step, said in zip(told, await steps_said_by(recorded), strict=True):
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
    book_input = await input_in(recorded.events, DECRYPTING)
    assert book_input is not None
    errors = {
        step.kind: step.last_error
        for step in await steps_in(recorded.events, book_input, DECRYPTING)
    }
    assert errors == {"car": None, "hotel": "Invalid hotel booking, rolling back!", "flight": None}


def with_a_second_between_events(name: str) -> WorkflowHistory:
    recorded = WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())
    for event in recorded.events:
        event.event_time.FromSeconds(event.event_id)
    return recorded


Times = dict[str, tuple[float | None, float | None]]


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("booked", {"car": (2, None), "hotel": (2, None), "flight": (2, None)}),
        ("failed_at_hotel", {"car": (2, 2), "hotel": (2, 2), "flight": (None, None)}),
        ("lost_with_its_worker", {"car": (2, None), "hotel": (8, None), "flight": (2, None)}),
        ("pending_and_booked", {"car": (2, None), "hotel": (24, None), "flight": (2, None)}),
        ("cancelled_during_hotel", {"car": (2, 2), "hotel": (None, 2), "flight": (None, None)}),
        ("stuck_and_retried", {"car": (2, 2), "hotel": (2, 24), "flight": (2, 2)}),
        ("undone_late_and_stuck", {"car": (2, 2), "hotel": (2, 46), "flight": (2, 2)}),
    ],
)
async def test_a_history_tells_how_long_each_step_took(name: str, times: Times) -> None:
    recorded = with_a_second_between_events(name)
    book_input = await input_in(recorded.events, DECRYPTING)
    assert book_input is not None
    steps = await steps_in(recorded.events, book_input, DECRYPTING)
    assert {step.kind: (step.booking_seconds, step.undo_seconds) for step in steps} == times


async def test_in_a_history_an_undo_that_is_stuck_has_taken_no_time_yet() -> None:
    recorded = with_a_second_between_events("stuck_and_resolved")
    book_input = await input_in(recorded.events, DECRYPTING)
    assert book_input is not None
    times = {
        step.kind: step.undo_seconds
        for step in await steps_in(recorded.events, book_input, DECRYPTING)
    }
    assert times == {"car": 2, "hotel": None, "flight": 2}


async def test_an_input_that_is_none_tells_no_steps() -> None:
    recorded = WorkflowHistory.from_json("", (HISTORIES / "booked.json").read_text())
    started = recorded.events[0].workflow_execution_started_event_attributes
    for text in (b'"five"', b"{}", b"nonsense"):
        started.input.payloads[0].data = text
        assert await input_in(recorded.events, DECRYPTING) is None
    del started.input.payloads[:]
    assert await input_in(recorded.events, DECRYPTING) is None
