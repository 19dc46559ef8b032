"""What `make run` does when one of its processes ends: killed, by itself, or because it must."""

import functools
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import ROOT, Process, bare_environment, wait_until

IMPATIENT = """import runpy, sys, honcho.manager
honcho.manager.KILL_WAIT = 0.1
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("lifecycle", run_name="__main__", alter_sys=True)"""
"""honcho kills what does not stop within five seconds; here it does so at once."""

NAMES = ("temporal", "worker", "api")


def started(manager: Process, name: str) -> list[int]:
    """Return the ids of the processes that were started under this name, the oldest first."""
    found = re.findall(rf"{name}\.1 started \(pid=(\d+)\)", manager.output)
    return [int(pid) for pid in found]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Process]:
    """Honcho as `make run` starts it, not yet started. At the end nothing of it is left."""
    command = [sys.executable, "-c", IMPATIENT, str(ROOT), "start"]
    manager = Process("honcho", command, tmp_path / "log", bare_environment(), tmp_path)
    try:
        yield manager
    finally:
        manager.kill()


def run(manager: Process, **lines: str) -> None:
    """Start honcho with these lines in its Procfile, in place of a process that sleeps."""
    text = "".join(f"{name}: {lines.get(name, 'exec sleep 600')}\n" for name in NAMES)
    (manager.log.parent / "Procfile").write_text(text)
    manager.start()
    wait_until(lambda: all(started(manager, name) for name in NAMES), "all have started")


def runs_again(manager: Process, name: str, before: int) -> bool:
    return len(started(manager, name)) > before


def test_what_is_killed_is_started_again_and_the_others_run_on(manager: Process) -> None:
    run(manager)
    for name in (*NAMES, "worker"):
        before = started(manager, name)
        psutil.Process(before[-1]).kill()
        wait_until(functools.partial(runs_again, manager, name, len(before)), "it runs again")
    assert [len(started(manager, name)) for name in NAMES] == [1 + 1, 1 + 2, 1 + 1]
    running = [psutil.Process(started(manager, name)[-1]) for name in NAMES]
    assert all(process.is_running() for process in running)
    assert "SIGTERM" not in manager.output

    assert manager.stop(signal.SIGINT) == 130
    assert not any(process.is_running() for process in running)
    assert "Traceback" not in manager.output


def test_what_ends_by_itself_stops_all_with_its_exit_code(manager: Process) -> None:
    """A bad setting, say: another start would end in the same way."""
    run(manager, worker="exit 3")
    assert manager.exit_code() == 3
    assert len(started(manager, "worker")) == 1


def test_what_is_killed_because_it_does_not_stop_is_not_started_again(manager: Process) -> None:
    run(manager, worker="trap '' TERM; echo Deaf; while :; do sleep 1; done")
    manager.wait_for_output("Deaf")
    assert manager.stop() == 143
    assert "worker.1 stopped (rc=-9)" in manager.output
    assert len(started(manager, "worker")) == 1
