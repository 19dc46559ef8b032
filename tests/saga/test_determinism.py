"""Workflow code stays deterministic: a mistake in any of its files is caught by the tests.

The worker runs workflows without the SDK's sandbox, for a quarter of its CPU time. So the tests
run them in it: it catches what reads a clock, rolls dice or does I/O. It loads a workflow's modules
anew for each trip, which would hide state that they keep; that is read off the source.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.saga.shapes import HISTORIES

ROOT = Path(__file__).parent.parent.parent

WORKFLOW_FILES = [ROOT / "workflows.py", ROOT / "shared.py", *sorted((ROOT / "saga").glob("*.py"))]

REPLAY = f"""
import asyncio, json, pathlib, sys
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from run_worker import WORKFLOWS
history = pathlib.Path({str(HISTORIES / "failed_at_hotel.json")!r}).read_text()
recorded = WorkflowHistory.from_json("failed", history)

async def complaint():
    try:
        await Replayer(workflows=WORKFLOWS).replay_workflow(recorded)
    except Exception as error:
        return str(error)

async def main():
    complaints = []
    for file, source in json.load(sys.stdin):
        path = pathlib.Path(file)
        right = path.read_text()
        path.write_text(source)
        complaints.append(await complaint())
        path.write_text(right)
    complaints.append(await complaint())
    pathlib.Path("complaints").write_text(json.dumps(complaints))

asyncio.run(main())
"""
"""Replays with each mistake in turn, and without; the sandbox loads the files anew each time."""

MISTAKES = {
    "clock": ("import time; time.time()", "Cannot access time.time"),
    "dice": ("import random; random.random()", "Cannot access random.random"),
    "I/O": ("open('/dev/null')", "Cannot access __builtins__.open"),
    "environment": ("import os; os.urandom(4)", "Cannot access os.urandom"),
}

PLACES = {
    "workflows.py": "        try:\n",
    "saga/compensation.py": "    task = asyncio.create_task(",
    "saga/deadline.py": "        self._seed = workflow.random_seed()\n",
    "saga/progress.py": "        self.steps[kind] = state\n",
    "saga/recording.py": "    news = TripNews(",
    "saga/steps.py": "    policy = book_input.policy\n",
    "saga/trip.py": "        # Before the step runs: ",
}
"""A statement of each file that runs workflow code, before which a mistake is put."""


def test_every_workflow_file_has_a_place_for_a_mistake() -> None:
    files = {str(path.relative_to(ROOT)) for path in WORKFLOW_FILES}
    assert files - {"saga/__init__.py", "saga/liveness.py", "shared.py"} == PLACES.keys()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the product's source, to make mistakes in."""
    folder = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "tests", "benchmarks", "docs", "*.db*", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=left_out)
    return folder


def test_a_mistake_in_any_workflow_file_is_caught(copy: Path) -> None:
    cases = [(file, "clock") for file in PLACES]
    cases += [("saga/trip.py", mistake) for mistake in MISTAKES if mistake != "clock"]
    sources = [(file, wrong(copy / file, PLACES[file], mistake)) for file, mistake in cases]
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
    for case, complaint in zip(cases, complaints, strict=True):
        assert MISTAKES[case[1]][1] in (complaint or ""), case
    assert "ondeterminism" in (incompatible or ""), "An edit does not fit recorded trips"
    assert without is None, "What has no mistake replays"


def hotel_first(source: str) -> str:
    """Return the source of the workflows with the steps in another order."""
    before = [f"            await self.book({step})\n" for step in ("CAR", "HOTEL")]
    assert "".join(before) in source
    return source.replace("".join(before), "".join(reversed(before)))


def wrong(file: Path, place: str, mistake: str) -> str:
    """Return the file's source with a mistake in it."""
    source = file.read_text()
    assert place in source, f"The test no longer knows its way in {file.name}"
    indent = place[: len(place) - len(place.lstrip())]
    return source.replace(place, f"{indent}{MISTAKES[mistake][0]}\n{place}")


CONSTRUCTORS = {
    *("frozenset", "Step", "get_args", "SagaPolicy", "dt.timedelta", "RetryPolicy", "field"),
}
"""What a constant, or a field of a dataclass, may be made with: values that nothing changes."""


def state_kept_by(source: str) -> list[str]:
    """Return the statements by which a module, or a class in it, may keep state between trips."""
    tree = ast.parse(source)
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    return [ast.unparse(node) for node in (*kept, *_mutable_values(tree.body))]


def _mutable_values(body: list[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                if not _is_constant(value):
                    yield value
            case ast.ClassDef(body=inner) | ast.With(body=inner):
                yield from _mutable_values(inner)


def _is_constant(value: ast.expr) -> bool:
    match value:
        case ast.Constant() | ast.Name() | ast.Attribute() | ast.Subscript():
            return True
        case ast.Tuple(elts=parts):
            return all(map(_is_constant, parts))
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case ast.Call(func=function):
            return ast.unparse(function) in CONSTRUCTORS
    return False


@pytest.mark.parametrize("path", WORKFLOW_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_workflow_file_keeps_state_between_trips(path: Path) -> None:
    assert state_kept_by(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["booked = []", "class Saga:\n    trips = Counter()", "def run():\n    global trips"],
)
def test_state_that_is_kept_is_noticed(source: str) -> None:
    assert state_kept_by(source)
