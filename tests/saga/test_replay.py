"""Recorded trips, one of each ending, replay through today's workflows."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from connection import Encryption, converter_of
from run_worker import WORKFLOWS
from saga import Saga
from tests.encrypting import KEYS
from tests.saga.mistakes import HotelFirst
from tests.saga.record_histories import AT_SUPPLIERS, HISTORIES, SCENARIOS, UNATTENDED

INCIDENTS = Path(__file__).with_name("incidents")

DECRYPTING = converter_of(Encryption(KEYS, "new"))
"""Of trips that are encrypted and of those that are not."""

RECORDED = sorted(HISTORIES.rglob("*.json"))


def recorded(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(str(path.relative_to(HISTORIES)), path.read_text())


def test_each_ending_is_recorded() -> None:
    assert {*SCENARIOS, *UNATTENDED, *AT_SUPPLIERS} == {
        path.stem for path in HISTORIES.glob("*.json")
    }


async def test_every_recorded_trip_replays() -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in RECORDED:
            yield recorded(path)

    # One replayer for all: to make one takes longer than to replay a trip.
    replayer = Replayer(workflows=WORKFLOWS, data_converter=DECRYPTING)
    async with replayer.workflow_replay_iterator(histories()) as replayed:
        failures = {each.history.workflow_id: each.replay_failure async for each in replayed}
    assert len(failures) == len(RECORDED)
    assert {name: error for name, error in failures.items() if error} == {}


async def test_a_replay_runs_the_mechanism_in_the_sandbox_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Loaded anew there, it does not see what is broken out here; the worker's own runner would.
    monkeypatch.delattr(Saga, "close")
    await Replayer(workflows=WORKFLOWS).replay_workflow(recorded(HISTORIES / "booked.json"))


async def test_an_incompatible_edit_is_caught() -> None:
    with pytest.raises(NondeterminismError, match="book_car"):
        await Replayer(workflows=[HotelFirst]).replay_workflow(recorded(HISTORIES / "booked.json"))


def ran_ahead(*, mechanism: int) -> WorkflowHistory:
    """Return a trip of `make chaos` on a machine that was overloaded, by this mechanism.

    A worker had run its workflow past the lost try, and begun another one, when the workflow task
    with the cancel in it came: so its undo is the third activity, which in a replay is the second.
    """
    history = json.loads((INCIDENTS / "ran_ahead.json").read_text())
    events = history["events"]
    if mechanism == 2:
        (payload,) = events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
        book_input = json.loads(base64.b64decode(payload["data"]))
        book_input["policy"]["mechanism"] = 2
        payload["data"] = base64.b64encode(json.dumps(book_input).encode()).decode()
        for event in events:
            if scheduled := event.get("activityTaskScheduledEventAttributes"):
                scheduled["activityId"] = f"{scheduled['activityType']['name']}-1"
    return WorkflowHistory.from_json("ran-ahead", history)


async def test_a_trip_whose_worker_ran_ahead_goes_on() -> None:
    replayer = Replayer(workflows=WORKFLOWS)
    with pytest.raises(NondeterminismError, match="Activity id"):
        await replayer.replay_workflow(ran_ahead(mechanism=1))
    await replayer.replay_workflow(ran_ahead(mechanism=2))
