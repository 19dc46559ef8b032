"""`make crash`, which kills a worker in the middle of a hotel."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import DEADLINE, ROOT, Process, bare_environment, service

CRASH = [sys.executable, "-m", "tests.crash"]

SHOWN = r"""Book (crash-test-\d+)
car: booked
hotel: booking
Kill the worker in the middle of the hotel: kill -9 (\d+)
Wait: a worker is taken for dead after 2 s without a heartbeat
hotel: booked
flight: booked
The trip is booked, \d+ s after the crash
Held: car valid-car-id
Held: hotel valid-hotel-id
Held: flight valid-flight-id
"""


def crash(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = bare_environment() | settings
    return subprocess.run(
        CRASH, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE
    )


def without_pauses(text: str) -> str:
    """Return what was shown less the times, and less what a fast worker may not be seen at."""
    lines = re.sub(r"^\d\d:\d\d:\d\d ", "", text, flags=re.M)
    return re.sub(r"^(car|flight): booking\n", "", lines, flags=re.M)


@pytest.mark.slow
def test_the_trip_is_booked_although_its_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    command = f"exec {sys.executable} {ROOT}/run_worker.py"
    (tmp_path / "Procfile").write_text(f"worker: {command}\n")
    with service(HOTEL_LATENCY_SECONDS=5, HEARTBEAT_TIMEOUT_SECONDS=2) as here:
        settings = bare_environment() | here.settings | {"PYTHONPATH": str(ROOT)}
        honcho = [sys.executable, "-m", "lifecycle", "start", "-d", str(tmp_path)]
        here.workers = [Process("make-run", honcho, tmp_path / "make-run.log", settings)]
        here.processes += here.workers
        here.start()
        shown = crash(**here.settings)
        assert (shown.returncode, shown.stderr) == (0, "")
        told = re.fullmatch(SHOWN, without_pauses(shown.stdout))
        assert told, shown.stdout
        trip, killed = told.groups()
        assert f"worker.1 started (pid={killed})" in here.workers[0].output
        assert here.workers[0].output.count("Polling task queue") == 2
        assert len(here.reserved(trip)) == 3
        steps = here.request("GET", f"/bookings/{trip}").body["steps"]
        assert [step["attempts"] for step in steps] == [1, 1, 1], "a lost try costs no attempt"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "Temporal cannot be reached. Start `make run` in another terminal.\n"),
        (
            "temporal.example:7233",
            "It kills a worker of this machine, and Temporal is at temporal.example:7233.\n",
        ),
    ],
)
def test_one_line_says_why_no_worker_is_killed(tmp_path: Path, address: str, told: str) -> None:
    database = f"sqlite:///{tmp_path / 'record.db'}"
    shown = crash(TEMPORAL_ADDRESS=address, DATABASE_URL=database)
    assert (shown.returncode, shown.stdout, shown.stderr) == (1, "", told)
