"""Two versions of the worker whose workflows do not fit each other, and the commands of a rollout.

The second version is the product's own source with one change, which `other_version` makes: its
trips book the flight first. To a history of the first version that is non-determinism.
"""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from shared import KINDS
from tests.processes import DEADLINE, ROOT, Process, Service, bare_environment, wait_until
from tests.trips import events

DEPLOYMENT = "trip-booking"

Build = Literal["v1", "v1.1", "v2"]

BOOKED = ["book_car", "book_hotel", "book_flight"]
BOOKED_BY: dict[str, list[str]] = {"v1": BOOKED, "v2": [BOOKED[-1], *BOOKED[:-1]]}
"""The activities of a trip that was booked, by the version that it ran on."""

FAST_DRAINING = (
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"'),
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusRefreshInterval="1s"'),
)
"""With it the dev server looks each second, and not after three minutes, whether a version is
drained."""


def other_version(folder: Path) -> Path:
    """Return a copy of the product's source whose trips book the flight first."""
    source = folder / "other-version"
    no_product = shutil.ignore_patterns(".*", "tests", "benchmarks", "docs", "*.db*", "__pycache__")
    shutil.copytree(ROOT, source, ignore=no_product)
    lines = [f"            await self.book({kind.upper()})\n" for kind in KINDS]
    workflows = source / "workflows.py"
    before = workflows.read_text()
    after = before.replace("".join(lines), "".join([lines[-1], *lines[:-1]]))
    assert after != before, "The change was not made"
    workflows.write_text(after)
    return source


def worker_of(
    running: Service, source: Path, name: str, metrics_port: int, build: Build | None
) -> Process:
    """Return a worker of the service, from a source, as a version of the deployment if any."""
    version = {"WORKER_DEPLOYMENT": DEPLOYMENT, "WORKER_BUILD_ID": build} if build else {}
    settings = running.settings | version | {"METRICS_PORT": str(metrics_port)}
    log = running.api.log.with_name(f"{name}.log")
    worker = Process(
        name, [sys.executable, "run_worker.py"], log, bare_environment() | settings, source
    )
    running.processes.append(worker)
    return worker


def temporal(running: Service, *command: str) -> Any:
    """Run a command of Temporal's CLI and return what it answers, `None` when it fails."""
    told = subprocess.run(
        ["temporal", *command, "--address", running.temporal_address, "--output", "json"],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    if told.returncode:
        return None
    return json.loads(told.stdout) if told.stdout.startswith(("{", "[")) else told.stdout


def make_current(running: Service, build: Build) -> None:
    """Make a version current, once its workers poll all its task queues."""
    command = ("worker", "deployment", "set-current-version", "--yes")
    version = ("--deployment-name", DEPLOYMENT, "--build-id", build)
    wait_until(lambda: temporal(running, *command, *version) is not None, f"{build} is current")


def move(running: Service, trip_id: str, build: Build) -> None:
    """Have a trip go on by another version, once that one's workers poll."""
    command = ("workflow", "update-options", "--workflow-id", trip_id)
    option = "--versioning-override-"
    version = (f"{option}deployment-name", DEPLOYMENT, f"{option}build-id", build)
    pinned = (*command, f"{option}behavior", "pinned", *version)
    wait_until(lambda: temporal(running, *pinned) is not None, f"{trip_id} is moved to {build}")


def status_of(running: Service, build: Build) -> str:
    """Return whether a version is `draining` or `drained`; empty if neither, or nobody knows it."""
    version = ("--deployment-name", DEPLOYMENT, "--build-id", build)
    found = temporal(running, "worker", "deployment", "describe-version", *version)
    return str(found["drainageInfo"].get("drainageStatus", "")) if found else ""


def drained(running: Service, build: Build) -> Callable[[], bool]:
    """Return a condition: no trip of a version is open any more, as Temporal sees it."""
    return lambda: status_of(running, build) == "drained"


@dataclass(frozen=True)
class Ran:
    """How a workflow ran, as its history has it."""

    builds: frozenset[str]
    """The versions that its workflow tasks ran on; none, if its workers had no version."""
    workers: frozenset[str]
    """Who has worked on it: `pid@host`."""
    steps: list[str]
    """Its activities; one that was lost with its worker, and begun again, is one."""
    failures: list[str]
    """The causes for which workflow tasks failed."""
    behaviors: frozenset[int]
    """How its versioning stood at each of its workflow tasks."""


async def ran(client: Client, workflow_id: str) -> Ran:
    history = await events(client.get_workflow_handle(workflow_id))
    completed = [
        event.workflow_task_completed_event_attributes
        for event in history
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    return Ran(
        builds=frozenset(
            task.deployment_version.build_id for task in completed if task.versioning_behavior
        ),
        workers=frozenset(_workers(history)),
        steps=[name for name, _ in itertools.groupby(_activities(history))],
        failures=[
            event.workflow_task_failed_event_attributes.failure.message
            for event in history
            if event.HasField("workflow_task_failed_event_attributes")
        ],
        behaviors=frozenset(task.versioning_behavior for task in completed),
    )


def _activities(history: Iterable[HistoryEvent]) -> Iterable[str]:
    for event in history:
        if event.HasField("activity_task_scheduled_event_attributes"):
            yield event.activity_task_scheduled_event_attributes.activity_type.name


def _workers(history: Iterable[HistoryEvent]) -> Iterable[str]:
    for event in history:
        if event.HasField("workflow_task_completed_event_attributes"):
            yield event.workflow_task_completed_event_attributes.identity
        if event.HasField("activity_task_started_event_attributes"):
            yield event.activity_task_started_event_attributes.identity
