"""Recorded trips, one of each shape, replay through today's workflows."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from connection import Encryption, converter_of
from run_worker import WORKFLOWS
from tests.encrypting import KEYS
from tests.saga.shapes import RECORDED, activities, name_of, recorded

DECRYPTING = converter_of(Encryption(KEYS | {"key": bytes(32)}, "new"))
"""Of trips that are encrypted and of those that are not."""

NAMES = [name_of(path) for path in RECORDED]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("by_others/")])
def test_a_trip_is_recorded_as_the_api_starts_it_with_activities_named_by_their_count(
    name: str,
) -> None:
    history = recorded(name)
    started = history.events[0].workflow_execution_started_event_attributes
    assert started.memo.fields
    assert started.priority.fairness_key == "shop"
    assert not started.search_attributes.indexed_fields
    # Else a worker that has run a workflow ahead of its task could not go on.
    counts: Counter[str] = Counter()
    for activity, activity_id in activities(history):
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
