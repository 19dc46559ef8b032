"""A kind of step is whole: what a new one forgets is named by the type checker or by a test here.

`docs/extending.md` shows how a fourth kind is added, and here that is done in a copy.
"""

import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_worker import ACTIVITIES
from shared import KINDS, BookVacationInput
from tests.processes import ROOT, bare_environment
from workflows import STEPS

PATIENCE = 3_600
"""Seconds for all fast tests: the machine is slow when other tests share it."""

NOT_OURS = (".git", ".venv", ".env", ".coverage*", "*_cache", "__pycache__", ".hypothesis", "*.db*")


def test_the_saga_has_a_step_of_each_kind_in_their_order() -> None:
    assert tuple(step.kind for step in STEPS) == KINDS


def test_the_input_has_an_item_of_each_kind() -> None:
    names = {field.name for field in dataclasses.fields(BookVacationInput)}
    assert {f"book_{kind}_id" for kind in KINDS} <= names


def test_the_activities_of_a_step_are_named_for_its_kind() -> None:
    for step in STEPS:
        names = f"book_{step.kind}", f"undo_book_{step.kind}"
        assert tuple(activity.__name__ for activity in step.activities) == names
        assert set(step.activities) <= set(ACTIVITIES)


def documented_change() -> str:
    """Return the change that adds a train."""
    text = (ROOT / "docs" / "extending.md").read_text()
    (change,) = re.findall(r"^```diff\n(.+?)^```$", text, re.M | re.S)
    return str(change)


def test_the_documented_change_is_short() -> None:
    lines = documented_change().splitlines()
    assert sum(line.startswith("+++") for line in lines) <= 5
    assert sum(line.startswith("+") and not line.startswith("+++") for line in lines) <= 20


@pytest.fixture
def project() -> Iterator[Path]:
    """A copy of the project, with its virtual environment."""
    # Not pytest's folder: PostgreSQL's programs, which do not run as root, start from here.
    with tempfile.TemporaryDirectory(prefix="trip-booking-") as folder:
        Path(folder).chmod(0o755)
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_OURS))
        (copy / ".venv").symlink_to(sys.prefix)
        yield copy


def ours(project: Path) -> dict[Path, bytes]:
    """Return the files of a project, less what its tools have made."""
    found = [file for file in project.rglob("*") if file.is_file() and not made(file)]
    return {file.relative_to(project): file.read_bytes() for file in found}


def made(file: Path) -> bool:
    return any(Path(part).match(pattern) for part in file.parts for pattern in NOT_OURS)


def run(project: Path, *command: str, told: str | None = None) -> str:
    """Run a command in a project, which must succeed, and return what it wrote."""
    done = subprocess.run(
        command,
        cwd=project,
        env=bare_environment(),
        input=told,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not done.returncode, f"{command}\n{done.stdout[-20_000:]}{done.stderr[-5_000:]}"
    return done.stdout


def run_fast_tests(project: Path, *tests: str) -> None:
    """Run fast tests. What fails beside so many others on a busy machine is run again by itself."""
    command = (sys.executable, "-m", "pytest", "-q", "-rfE", "-m", "not slow")
    try:
        run(project, *command, "-n", "2", *tests)
    except AssertionError:
        run(project, *command, "-n", "0", "--last-failed", "--last-failed-no-failures=none")


@pytest.mark.slow
def test_the_documented_change_breaks_no_fast_test_and_can_be_taken_away_again(
    project: Path,
) -> None:
    before = ours(project)
    run(project, "git", "apply", told=documented_change())
    after = ours(project)
    changed = [file for file in after if after[file] != before.get(file)]
    assert len(changed) == documented_change().count("\n+++ ")
    for tool in (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy", "."]):
        run(project, sys.executable, "-m", *tool)
    run_fast_tests(project)
    run(project, "git", "apply", "--reverse", told=documented_change())
    assert ours(project) == before


@pytest.mark.slow
def test_a_kind_may_have_an_underscore(project: Path) -> None:
    change = documented_change().replace("train", "gift_card").replace("TRAIN", "GIFT_CARD")
    run(project, "git", "apply", told=change)
    run(project, sys.executable, "-m", "mypy", ".")
    named = "test_kinds.py test_settings.py test_nothing_set_up.py saga/test_workflows.py"
    shown = "api/test_kinds.py pages/test_pages.py telemetry/test_counts.py"
    tests = [f"tests/{each}" for each in f"{named} {shown}".split()]
    tests = [each for each in tests if (project / each).exists()]
    run_fast_tests(project, *tests)
