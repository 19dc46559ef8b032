"""The Makefile: it finds a Python that will do, and the programs of the virtual environment."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import psutil
import pytest

from tests.processes import DEADLINE, ROOT, wait_until

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
    if (ROOT / "deploy").exists():
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
    script(project / ".venv/bin/python", 'echo "$@" >> log')
    script(project / ".venv/bin/pip", "exit 1")
    text = (project / "Makefile").read_text()
    for program in set(re.findall(r"^\t@?\$\(BIN\)/([\w-]+) ", text, re.M)) - {"python"}:
        script(project / ".venv/bin" / program, "exit 0")
    commands = set(re.findall(r"^\.PHONY: (\w+)$", text, re.M)) - {"help", "clean"}
    assert {"run", "test", "slow", "model", "chaos", "bench", "check", "lock"} <= commands
    made = make(project, *sorted(commands), path="/usr/bin:/bin")
    assert made.returncode == 0, made.stderr
    assert len((project / "log").read_text().splitlines()) > len(commands)


def test_the_database_that_is_migrated_is_the_one_that_the_services_use(project: Path) -> None:
    """honcho, which starts them, reads a file `.env`."""
    script(
        project / ".venv/bin/python",
        f"""if [ "$2" = honcho ]; then exec "{sys.executable}" "$@"; fi
        echo "$@ $DATABASE_URL" > migrated""",
    )
    script(project / ".venv/bin/pip", "exit 1")
    (project / ".venv/.run").touch()
    (project / ".env").write_text("DATABASE_URL='sqlite:///elsewhere.db'\n")
    made = make(project, "migrate", path="/usr/bin:/bin")
    assert made.returncode == 0, made.stderr
    assert (project / "migrated").read_text() == "-m record sqlite:///elsewhere.db\n"


@pytest.mark.parametrize("old", ["anonymous", "it's $HOME", ""])
def test_trips_are_handed_over_from_any_owner_in_the_database_of_the_services(
    project: Path, old: str
) -> None:
    script(
        project / ".venv/bin/python",
        f"""if [ "$2" = honcho ]; then exec "{sys.executable}" "$@"; fi
        printf '%s\\n' "$@" "$DATABASE_URL" > handed""",
    )
    script(project / ".venv/bin/pip", "exit 1")
    (project / ".venv/.run").touch()
    (project / ".env").write_text("DATABASE_URL='sqlite:///elsewhere.db'\n")
    command = ["-m", "record", "hand-over"]
    # make itself reads `$$` as `$`.
    for given, arguments in (
        ([f"FROM={old.replace('$', '$$')}", "TO=shop"], [f"--from={old}", "--to=shop"]),
        (["TO=shop"], ["--to=shop"]),
        ([], []),
    ):
        made = make(project, "handover", *given, path="/usr/bin:/bin")
        assert made.returncode == 0, made.stderr
        told = (project / "handed").read_text().splitlines()
        assert told == [*command, *arguments, "sqlite:///elsewhere.db"]


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


# Slow, each of them. On a new machine every command of .ci/run shows the first case, too.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["python3", "python", "an activated environment", "named"])
def test_the_environment_is_made_by_the_python_that_will_do(
    project: Path, tmp_path: Path, offline: dict[str, str], name: str
) -> None:
    programs, arguments = tmp_path / "programs", []
    script(programs / "python3", "exit 127")  # As macOS' own, before Xcode is there.
    if name == "named":
        named = script(project / "my python", f'exec "{BASE_PYTHON}" "$@"')
        arguments = [f"PYTHON={named}"]
    elif name == "an activated environment":
        venv.create(project / ".venv")  # It has no pip.
        programs = project / ".venv" / "bin"
    else:
        script(programs / name, f'exec "{BASE_PYTHON}" "$@"')
    made = make(project, ".venv/bin/pip", *arguments, path=str(programs), **offline)
    assert made.returncode == 0, made.stderr
    pip = [str(project / ".venv/bin/python"), "-m", "pip", "--version"]
    assert subprocess.run(pip, capture_output=True, check=True).stdout.startswith(b"pip ")


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


# The terminal's program: when it is killed, the terminal is closed.
TERMINAL = """import os, pty, signal, sys
signal.signal(signal.SIGHUP, signal.{sighup})
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"""
PROCFILE = """\
temporal: exec sleep 600
worker: {said}exec sleep 600
api: exec sleep 600
"""
TALKING = "while sleep 0.01; do echo Something; done; "
SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


# Without a shell make is the first process of the terminal, and the only one that gets SIGHUP.
@pytest.mark.parametrize(
    ("ends", "sighup", "shell", "said"),
    [
        ("closed", "SIG_DFL", (), ""),
        ("closed", "SIG_DFL", (), TALKING),
        ("closed", "SIG_DFL", SHELL, ""),
        ("closed", "SIG_IGN", SHELL, TALKING),
        ("Ctrl-C", "SIG_DFL", SHELL, TALKING),
    ],
)
def test_all_stop_with_their_terminal(
    project: Path, ends: str, sighup: str, shell: tuple[str, ...], said: str
) -> None:
    script(
        project / ".venv/bin/python",
        f"""if [ "$2" = lifecycle ]; then exec "{sys.executable}" "$@"; fi""",
    )
    script(project / ".venv/bin/pip", "exit 1")
    (project / ".venv/.run").touch()
    shutil.copytree(ROOT / "lifecycle", project / "lifecycle")
    (project / "Procfile").write_text(PROCFILE.format(said=said))
    shown = project / "shown"
    with (
        shown.open("wb") as screen,
        subprocess.Popen(
            [sys.executable, "-c", TERMINAL.format(sighup=sighup), *shell, MAKE, "run"],
            cwd=project,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=screen,
        ) as terminal,
    ):
        assert terminal.stdin
        wait_until(lambda: shown.read_text().count(" started ") == 3, "all three run")
        started = psutil.Process(terminal.pid).children(recursive=True)
        assert len(started) > 6
        try:
            if ends == "closed":
                terminal.kill()
            else:
                terminal.stdin.write(b"\x03")
                terminal.stdin.flush()
                wait_until(lambda: shown.read_text().count(" stopped ") == 3, "all have stopped")
            _, alive = psutil.wait_procs(started, DEADLINE)
            assert alive == []
            assert "Traceback" not in shown.read_text()
        finally:
            terminal.kill()
            for process in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
