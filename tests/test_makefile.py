"""The Makefile: it finds a Python that will do, and the programs of the virtual environment."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.processes import ROOT

MAKE = shutil.which("make") or ""
BASE_PYTHON: str = sys._base_executable  # type: ignore[attr-defined]  # As in the Makefile.
ODD_NAME = "it's 100% off"

pytestmark = pytest.mark.skipif(not MAKE, reason="needs make")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / ODD_NAME / "project"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    # What `make check` looks at is no program of the environment.
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    return folder


def make(
    project: Path, *arguments: str, path: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `make` where only what lies on `path` is found."""
    return subprocess.run(
        [MAKE, *arguments],
        cwd=project,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_every_command_finds_the_programs_by_itself(project: Path) -> None:
    """GNU make 3.81 looks up what it starts without a shell on its caller's PATH."""
    log = project / "log"
    script(project / ".venv/bin/python", 'echo "$@" >> log')
    script(project / ".venv/bin/pip", "exit 1")
    text = (project / "Makefile").read_text()
    for program in set(re.findall(r"^\t@?\$\(BIN\)/([\w-]+) ", text, re.M)) - {"python"}:
        script(project / ".venv/bin" / program, f"echo {program} >> log")
    commands = set(re.findall(r"^\.PHONY: (\w+)$", text, re.M)) - {"help", "clean"}
    tools = {"run", "test", "slow", "model", "chaos", "hardship"}
    tools |= {"bench", "check", "lock"}
    assert tools <= commands
    for command in sorted(commands):
        log.write_text("")
        made = make(project, command, path="/usr/bin:/bin")
        assert made.returncode == 0, (command, made.stderr)
        assert "-m " in log.read_text(), f"`make {command}` starts nothing of the environment"


def test_the_database_that_is_migrated_is_the_one_that_the_services_use(
    project: Path, tmp_path: Path
) -> None:
    """honcho, which starts them, reads a file `.env`."""
    script(project / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    script(project / ".venv/bin/pip", "exit 1")
    (project / ".venv/.run").touch()
    for name in ("lifecycle", "record", "settings.py", "shared.py"):
        (project / name).symlink_to(ROOT / name)
    database = tmp_path / "elsewhere.db"
    (project / ".env").write_text(f"DATABASE_URL='sqlite:///{database}'\n")
    made = make(project, "migrate", path="/usr/bin:/bin")
    assert (made.returncode, database.exists()) == (0, True), made.stderr


@pytest.fixture
def offline() -> dict[str, str]:
    """What lets pip be installed without an index."""
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        pytest.skip("needs the wheel of pip that ensurepip has")
    wheels = Path(spec.origin).with_name("_bundled")
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_COMPILE": "1",  # Nobody runs what is installed more than once.
    }


@pytest.mark.slow  # As are the next two. On a new machine each command of .ci/run shows it, too.
@pytest.mark.parametrize("name", ["python3", "python"])
def test_the_environment_is_made_by_the_python_that_will_do(
    project: Path, tmp_path: Path, offline: dict[str, str], name: str
) -> None:
    programs = tmp_path / "programs"
    script(programs / "python3", "exit 127")  # As macOS' own, before Xcode is there.
    script(programs / name, f'exec "{BASE_PYTHON}" "$@"')
    assert_makes_the_environment(project, path=str(programs), **offline)


@pytest.mark.slow
def test_an_activated_environment_without_pip_will_do(
    project: Path, offline: dict[str, str]
) -> None:
    venv.create(project / ".venv")
    assert_makes_the_environment(project, path=str(project / ".venv" / "bin"), **offline)


@pytest.mark.slow
def test_a_python_may_be_named_by_a_path_of_any_name(
    project: Path, offline: dict[str, str]
) -> None:
    named = script(project / "my python", f'exec "{BASE_PYTHON}" "$@"')
    assert_makes_the_environment(project, f"PYTHON={named}", path="/nowhere", **offline)


@pytest.mark.parametrize("answer", [None, "exit 1", "echo; exit 1"])
def test_one_line_says_that_no_python_will_do(
    project: Path, tmp_path: Path, answer: str | None
) -> None:
    if answer:
        script(tmp_path / "programs" / "python3", answer)
    made = make(project, "test", path=str(tmp_path / "programs"))
    assert made.returncode != 0
    said = [line for line in made.stderr.splitlines() if not line.startswith("make: ***")]
    assert said == [
        "Needed: Python 3.11 or newer with pip, as python3 or python."
        " Name yours: make PYTHON=/path/to/python3"
    ]


def assert_makes_the_environment(
    project: Path, *arguments: str, path: str, **environment: str
) -> None:
    made = make(project, ".venv/bin/pip", *arguments, path=path, **environment)
    assert made.returncode == 0, made.stderr
    pip = [str(project / ".venv/bin/python"), "-m", "pip", "--version"]
    assert subprocess.run(pip, capture_output=True, check=True).stdout.startswith(b"pip ")
