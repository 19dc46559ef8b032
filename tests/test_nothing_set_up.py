"""The names that other people's code imports work with nothing set up, as the tutorial does it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from shared import KINDS
from tests.processes import ROOT

ONE_ACTIVITY = """
import asyncio, pathlib, signal
import activities, run_worker, starter, workflows
print(signal.getsignal(signal.SIGTERM), any(pathlib.Path(FOLDER).iterdir()))

from temporalio.testing import ActivityEnvironment
from activities import book_car
from shared import BookVacationInput

book_input = BookVacationInput(5, "somebody-1", "a-car", "a-hotel", "a-flight")
print(asyncio.run(ActivityEnvironment().run(book_car, book_input)))
"""

A_PLAIN_WORKER = """
import asyncio, json, os
from temporalio.client import Client
from temporalio.worker import Worker
from run_worker import ACTIVITIES, WORKFLOWS
from shared import TASK_QUEUE_NAME, BookVacationInput
from workflows import BookingWorkflow

async def main():
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    worker = Worker(
        client, task_queue=TASK_QUEUE_NAME, workflows=WORKFLOWS, activities=ACTIVITIES
    )
    async with worker:
        trips = [
            client.execute_workflow(
                BookingWorkflow.run,
                BookVacationInput(2, f"plain-{n}", "a-car", hotel, "a-flight"),
                id=f"plain-{n}",
                task_queue=TASK_QUEUE_NAME,
            )
            for n, hotel in enumerate(["a-hotel"] * 7 + ["invalid-hotel"])
        ]
        print(json.dumps(await asyncio.gather(*trips)), flush=True)

asyncio.run(main())
# From Python 3.14 on a thread of the SDK's may hold the interpreter's end for ever.
os._exit(0)
"""


def run(script: str, folder: Path, **settings: str) -> str:
    """Run a script that knows nothing but the names, and return what it prints."""
    environment = os.environ | settings | {"DATABASE_URL": f"sqlite:///{folder}/made.db"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def reserved_in(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "made.db")) as database:
        query = "SELECT trip_id, kind FROM reservations WHERE state = 'reserved'"
        return sorted(database.execute(query))


def test_nothing_happens_on_import_and_an_activity_books_in_the_record_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coverage has a handler of its own in the processes that it measures.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    said = run(ONE_ACTIVITY.replace("FOLDER", repr(str(tmp_path))), tmp_path)
    assert said == f"{signal.SIG_DFL!s} False\na-car\n"
    assert reserved_in(tmp_path) == [("somebody-1", "car")]


async def test_a_plain_worker_runs_trips(environment: WorkflowEnvironment, tmp_path: Path) -> None:
    address = environment.client.service_client.config.target_host
    said = run(A_PLAIN_WORKER, tmp_path, TEMPORAL_ADDRESS=address, HOTEL_LATENCY_SECONDS="0.1")
    *booked, failed = json.loads(said)
    assert [result["status"] for result in booked] == ["success"] * 7
    assert failed["message"] == "Invalid hotel booking, rolling back!"
    assert reserved_in(tmp_path) == sorted(
        (f"plain-{number}", kind) for number in range(7) for kind in KINDS[:3]
    )
