"""Recorded trips, one of each shape, replay through today's workflows."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from connection import Encryption, converter_of
from run_worker import WORKFLOWS
from tests.encrypting import KEYS
from tests.processes import ROOT
from tests.saga.shapes import EARLIER, HISTORIES, RECORDED, activities, files_in, name_of, recorded

DECRYPTING = converter_of(Encryption(KEYS | {"key": bytes(32)}, "new"))
"""Of trips that are encrypted and of those that are not."""

ENCRYPTED = "hotel and (failing_step or fails_for_good)"
"""The tests whose trips are recorded encrypted, too."""

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


async def assert_all_replay(folder: Path, names: list[str]) -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for name in names:
            yield recorded(name, folder)

    # One replayer for all: to make one takes longer than to replay a trip.
    replayer = Replayer(workflows=WORKFLOWS, data_converter=DECRYPTING)
    async with replayer.workflow_replay_iterator(histories()) as replayed:
        failures = {each.history.workflow_id: each.replay_failure async for each in replayed}
    assert len(failures) == len(names)
    assert {name: error for name, error in failures.items() if error} == {}


async def test_every_recorded_trip_replays() -> None:
    await assert_all_replay(HISTORIES, NAMES)


async def test_every_trip_that_began_before_a_guarded_change_replays() -> None:
    await assert_all_replay(EARLIER, [name_of(file, EARLIER) for file in files_in(EARLIER)])


def record_all(folder: Path) -> None:
    """Record the trips of all shapes anew, as `shapes` says."""
    command = (sys.executable, "-m", "pytest", "-q", "-n0", "tests/saga", "-m", "shape")
    environment = os.environ | {"RECORD_HISTORIES": str(folder)}
    for options in ((), ("--encrypted", "-k", ENCRYPTED)):
        subprocess.run((*command, *options), cwd=ROOT, env=environment, check=True)


@pytest.mark.slow
async def test_trips_that_are_recorded_anew_have_the_same_shapes_and_replay(tmp_path: Path) -> None:
    await asyncio.to_thread(record_all, tmp_path)
    names = [name_of(file, tmp_path) for file in await asyncio.to_thread(files_in, tmp_path)]
    assert names == NAMES
    await assert_all_replay(tmp_path, names)
