"""A process that is told to stop while it is still starting stops, without a word."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.processes import Process, heeds, service, wait_until

slow = pytest.mark.slow

SLOW_IMPORT = "temporal_sdk_bridge"
"""A library that both processes load late."""


def loaded(process: Process, library: str) -> bool:
    return any(library in mapped.path for mapped in psutil.Process(process.pid).memory_maps())


@pytest.mark.parametrize("seconds", [0.0, *(pytest.param(s, marks=slow) for s in (0.25, 0.65))])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("script", ["starter.py", "run_worker.py"])
def test_an_order_to_stop_in_the_first_second_is_obeyed(
    script: str, number: signal.Signals, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coverage has a handler of its own in the processes that it measures, before they have theirs.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    with service() as starting:  # Temporal is not even there.
        process = starting.python("starting", script)
        process.start()
        # Before Python itself has started, no code of ours can help.
        wait_until(lambda: heeds(process.pid, signal.SIGTERM), "it can be told")
        if not seconds and Path("/proc").exists():
            assert not loaded(process, SLOW_IMPORT), "The slow imports come afterwards"
        time.sleep(seconds)  # The moments of the start that are tried.
        assert process.stop(number) == 0
        assert "Traceback" not in process.output
