"""Recorded trips, one of each shape, replay through today's workflows."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from connection import Encryption, converter_of
from record import Record
from run_worker import WORKFLOWS
from tests.encrypting import KEYS
from tests.saga.record_histories import HISTORIES, NAMES, play

DECRYPTING = converter_of(Encryption(KEYS, "new"))
"""Of trips that are encrypted and of those that are not."""

RECORDED = sorted(HISTORIES.rglob("*.json"))


def name_of(path: Path) -> str:
    return str(path.relative_to(HISTORIES).with_suffix(""))


def recorded(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, (HISTORIES / f"{name}.json").read_text())


def events(name: str, attributes: str) -> Iterator[dict[str, Any]]:
    """Return the attributes of a recorded trip's events of one type."""
    for event in json.loads((HISTORIES / f"{name}.json").read_text())["events"]:
        if attributes in event:
            yield event[attributes]


def activities(name: str) -> Iterator[tuple[str, str]]:
    for scheduled in events(name, "activityTaskScheduledEventAttributes"):
        yield scheduled["activityType"]["name"], scheduled["activityId"]


def test_each_shape_is_recorded() -> None:
    assert sorted(NAMES) == sorted(map(name_of, RECORDED))


@pytest.mark.parametrize("name", NAMES)
def test_a_trip_is_recorded_as_the_api_starts_it(name: str) -> None:
    (started,) = events(name, "workflowExecutionStartedEventAttributes")
    assert started["memo"]["fields"]
    assert started["priority"]["fairnessKey"] == "shop"
    assert "searchAttributes" not in started
    for upsert in events(name, "upsertWorkflowSearchAttributesEventAttributes"):
        # The SDK's own, for the marker of a patch.
        assert upsert["searchAttributes"]["indexedFields"].keys() == {"TemporalChangeVersion"}


def test_an_activitys_id_is_its_own_name_and_count() -> None:
    """Else a worker that has run a workflow ahead of its task could not go on."""
    for name in NAMES:
        counts: Counter[str] = Counter()
        for activity, activity_id in activities(name):
            counts[activity] += 1
            if activity != "resolve_undo":
                assert activity_id == f"{activity}-{counts[activity]}"


async def test_every_recorded_trip_replays() -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for name in NAMES:
            yield recorded(name)

    # One replayer for all: to make one takes longer than to replay a trip.
    replayer = Replayer(workflows=WORKFLOWS, data_converter=DECRYPTING)
    async with replayer.workflow_replay_iterator(histories()) as replayed:
        failures = {each.history.workflow_id: each.replay_failure async for each in replayed}
    assert len(failures) == len(NAMES)
    assert {name: error for name, error in failures.items() if error} == {}


IN_A_MOMENT = {"booked", "failed_at_hotel", "reset_to_its_start", "decided_late"}


@pytest.mark.parametrize(
    "name",
    # Slow: all of them take a minute and more.
    [pytest.param(name, marks=() if name in IN_A_MOMENT else pytest.mark.slow) for name in NAMES],
)
async def test_a_trip_of_today_runs_as_the_recorded_one(
    client: Client, record: Record, name: str
) -> None:
    history = await (await play(client, record, name)).fetch_history()
    await Replayer(workflows=WORKFLOWS, data_converter=DECRYPTING).replay_workflow(history)
    today = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert today == [activity for activity, _ in activities(name)], "Record it again"
