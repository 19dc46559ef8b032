"""Workflow code stays deterministic: a mistake in any of its files is caught by the tests.

The worker runs workflows without the SDK's sandbox, for a quarter of its CPU time, and so do most
tests. The random trips and all replays run in it: it catches what reads a clock, rolls dice or does
I/O. It loads a workflow's modules anew for each trip, which would hide state that they keep; that
is read off the modules.
"""

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path

import pytest

from tests.saga.shapes import HISTORIES

ROOT = Path(__file__).parent.parent.parent

SAGA = {f"saga/{path.name}" for path in (ROOT / "saga").glob("*.py")}

REPLAY = f"""
import asyncio, json, os, pathlib, sys
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from run_worker import WORKFLOWS
history = pathlib.Path({str(HISTORIES / "failed_at_hotel.json")!r}).read_text()

async def histories():
    for file, source in [*json.load(sys.stdin), ("workflows.py", None)]:
        path = pathlib.Path(file)
        right = path.read_text()
        path.write_text(source or right)
        yield WorkflowHistory.from_json("failed", history)
        path.write_text(right)

async def main():
    async with Replayer(workflows=WORKFLOWS).workflow_replay_iterator(histories()) as replayed:
        failures = [str(each.replay_failure or "") async for each in replayed]
    pathlib.Path("complaints").write_text(json.dumps(failures))

asyncio.run(main())
# A thread of the SDK's may still run, and Python's own end then fails now and then.
os._exit(0)
"""
"""Replays with each mistake in turn, and without; the sandbox loads the files anew each time."""

MISTAKE = "import time; time.time()"

PLACES = {
    "workflows.py": "        try:\n",
    "saga/compensation.py": "    task = asyncio.create_task(",
    "saga/deadline.py": "        self._seed = workflow.random_seed()\n",
    "saga/progress.py": "        self.steps[kind] = state\n",
    "saga/holding.py": "        self._seconds = seconds\n",
    "saga/recording.py": "    await _locally(RECORD_TRIP",
    "saga/steps.py": "    policy = book_input.policy\n",
    "saga/trip.py": "        # Before the step runs: ",
}
"""A statement of each file that runs workflow code, before which the mistake is put."""

UNCHANGED = {"PATIENCE", "_field_defaults"}
"""What nothing changes, though it could be."""


def test_every_workflow_file_has_a_place_for_a_mistake() -> None:
    assert SAGA - {"saga/__init__.py", "saga/liveness.py", "saga/check.py"} == PLACES.keys() - {
        "workflows.py"
    }


def test_a_mistake_in_any_workflow_file_is_caught(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "tests", "benchmarks", "docs", "*.db*", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    sources = [(file, wrong(copy / file, place)) for file, place in PLACES.items()]
    sources.append(("workflows.py", hotel_first((copy / "workflows.py").read_text())))
    subprocess.run(
        [sys.executable, "-c", REPLAY],
        cwd=copy,
        # Coverage's patterns are relative to the project's folder.
        env={name: os.environ[name] for name in os.environ if "COVERAGE" not in name},
        input=json.dumps(sources),
        text=True,
        check=True,
    )
    *complaints, incompatible, without = json.loads((copy / "complaints").read_text())
    for file, complaint in zip(PLACES, complaints, strict=True):
        assert "Cannot access time.time" in complaint, file
    assert "ondeterminism" in incompatible, "An edit does not fit recorded trips"
    assert without == "", "What has no mistake replays"


def hotel_first(source: str) -> str:
    """Return the source of the workflows with the steps in another order."""
    before = [f"            await self.book({step})\n" for step in ("CAR", "HOTEL")]
    assert "".join(before) in source
    return source.replace("".join(before), "".join(reversed(before)))


def wrong(file: Path, place: str) -> str:
    """Return the file's source with the mistake in it."""
    source = file.read_text()
    assert place in source, f"The test no longer knows its way in {file.name}"
    indent = place[: len(place) - len(place.lstrip())]
    return source.replace(place, f"{indent}{MISTAKE}\n{place}")


@pytest.mark.parametrize("file", sorted({"shared.py", "workflows.py", *SAGA}))
def test_no_workflow_file_keeps_state_between_trips(file: str) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    own = (
        each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
    )
    values = {
        name: value
        for holder in (module, *own)
        for name, value in vars(holder).items()
        if not name.startswith("__") and name not in UNCHANGED
    }
    # A value with a hash does not change.
    assert [name for name, value in values.items() if not isinstance(value, Hashable)] == []
    assert not re.search(r"^\s+global ", inspect.getsource(module), re.MULTILINE)
