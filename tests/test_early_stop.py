"""A process that is told to stop in its first second ends, and leaves nothing behind."""

import os
import signal
import time

import pytest

from tests.processes import service

slow = pytest.mark.slow

ENDED = {0, -signal.SIGTERM, 128 + signal.SIGTERM}
"""In order, as any program that has no handler yet, or as a job that was cut off."""


@pytest.mark.parametrize("seconds", [0.3, *(pytest.param(s, marks=slow) for s in (0.0, 0.1, 0.7))])
@pytest.mark.parametrize("script", ["starter.py", "run_worker.py", "record/__main__.py"])
def test_an_order_to_stop_in_the_first_second_is_obeyed(
    script: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coverage has a handler of its own in the processes that it measures, before they have theirs.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    with service(PYTHONPATH=".") as starting:  # Temporal is not even there.
        process = starting.python("starting", script)
        process.start()
        time.sleep(seconds)  # The moments of the start that are tried.
        assert process.stop(signal.SIGTERM) in ENDED
        assert "Traceback" not in process.output
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # Its children, if it had any, are in its group.
