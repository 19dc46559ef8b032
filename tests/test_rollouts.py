"""A changed workflow is rolled out under open trips, by the commands of `docs/rollouts.md`.

The second version is the product's own source with one change: its trips book the flight first. To
a history of the first version that is non-determinism.
"""

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import Client
from temporalio.common import VersioningBehavior

from shared import KINDS, cancellation_id
from tests.processes import (
    DEADLINE,
    FAST_FORGETTING,
    FAST_TIMERS,
    ROOT,
    Answer,
    Process,
    Service,
    bare_environment,
    free_port,
    service,
    supplier_urls,
    wait_until,
)
from tests.trips import events

pytestmark = pytest.mark.slow

DEPLOYMENT = "trip-booking"

Build = Literal["v1", "v1.1", "v2"]

BOOKED_BY: dict[str, list[str]] = {
    "v1": [f"book_{kind}" for kind in KINDS],
    "v2": [f"book_{kind}" for kind in (KINDS[-1], *KINDS[:-1])],
}
"""The activities of a trip that was booked, by the version that it ran on."""

FAST_DRAINING = (
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"'),
    *("--dynamic-config-value", 'matching.wv.VersionDrainageStatusRefreshInterval="1s"'),
)
"""With it the dev server looks each second, and not after three minutes, whether a version is
drained."""

CALLERS = 8
TRIP = {"name": "Jo", "attempts": 5, **{str(kind): f"valid-{kind}" for kind in KINDS}}


@contextmanager
def without_workers(**settings: Any) -> Iterator[Service]:
    """A service whose workers a test starts, as versions."""
    # The hotels have a task queue of their own: a version's activities there are its own, too.
    with service(
        temporal_options=FAST_TIMERS + FAST_FORGETTING + FAST_DRAINING,
        HOTEL_SUPPLIER_CALLS_PER_SECOND=1_000,
        HEARTBEAT_TIMEOUT_SECONDS=2,
        **settings,
    ) as started:
        started.temporal.start()
        started.api.start()
        yield started


@pytest.fixture
def running() -> Iterator[Service]:
    # The hotel takes its time, so that some trips are always between two steps.
    with without_workers(HOTEL_LATENCY_SECONDS=0.5) as started:
        yield started


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


class VersionedWorker(Process):
    """A worker of a service, from a source, as a version of the deployment if it has a build."""

    def __init__(self, running: Service, source: Path, build: Build | None) -> None:
        version = {"WORKER_DEPLOYMENT": DEPLOYMENT, "WORKER_BUILD_ID": build} if build else {}
        self.port = free_port()
        settings = running.settings | version | {"METRICS_PORT": str(self.port)}
        name = build or "unversioned"
        log = running.api.log.with_name(f"{name}.log")
        command = [sys.executable, "run_worker.py"]
        super().__init__(name, command, log, bare_environment() | settings, source)
        running.processes.append(self)
        self._running = running

    def start_and_wait(self) -> None:
        """Start it and wait until it is ready."""
        self.start()
        wait_until(lambda: readiness(self._running, self.port)[0] == 200, f"{self.name} is ready")


def readiness(running: Service, port: int | None = None) -> tuple[int, str]:
    try:
        answer = running.request("GET", "/readyz", port=port)
    except OSError:
        return 0, "nobody answers"
    return answer.status, answer.body.get("detail", "")


def until_bookable(running: Service) -> None:
    wait_until(lambda: readiness(running)[0] == 200, "the API is ready")


def until_shown(running: Service, trip_id: str, status: str) -> None:
    path = f"/bookings/{trip_id}"
    wait_until(lambda: running.request("GET", path).body["status"] == status, f"it is {status}")


# The commands of a rollout


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


def until_it_is(status: Literal["draining", "drained"], running: Service, build: Build) -> None:
    """Wait until Temporal says so of a version; of a drained one no trip is open any more."""
    version = ("--deployment-name", DEPLOYMENT, "--build-id", build)

    def is_so() -> bool:
        found = temporal(running, "worker", "deployment", "describe-version", *version)
        return bool(found and found["drainageInfo"].get("drainageStatus") == status)

    wait_until(is_so, f"{build} is {status}")


async def ran(client: Client, workflow_id: str) -> tuple[set[str], list[str]]:
    """Return the versions that a workflow ran on, and its activities in their order.

    Fails when a workflow task has failed or was not pinned to its version.
    """
    builds, steps = set(), []
    for event in await events(client.get_workflow_handle(workflow_id)):
        assert not event.HasField("workflow_task_failed_event_attributes"), event
        if event.HasField("workflow_task_completed_event_attributes"):
            task = event.workflow_task_completed_event_attributes
            if behavior := VersioningBehavior(task.versioning_behavior):
                assert behavior == VersioningBehavior.PINNED
                builds.add(task.deployment_version.build_id)
        if event.HasField("activity_task_scheduled_event_attributes"):
            steps.append(event.activity_task_scheduled_event_attributes.activity_type.name)
    # One that was lost with its worker, and begun again, is one.
    return builds, [name for name, _ in itertools.groupby(steps)]


class Load:
    """Callers who book one trip after the other."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self._stopped = threading.Event()
        self._answers: list[Answer] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._call) for _ in range(CALLERS)]
            try:
                yield
            finally:
                self._stopped.set()
        for caller in callers:
            caller.result()

    def further(self, trips: int) -> None:
        """Wait until so many more trips have ended."""
        wanted = len(self._answers) + trips
        wait_until(lambda: len(self._answers) >= wanted, f"{trips} more trips end")

    @property
    def trips(self) -> list[str]:
        """The ids of all trips, each of which was booked."""
        assert {answer.status for answer in self._answers} == {200}
        assert not [answer.body for answer in self._answers if answer.body["cancelled"]]
        return [answer.body["user_id"] for answer in self._answers]

    def _call(self) -> None:
        while not self._stopped.is_set():
            self._answers.append(self._running.request("POST", "/book", TRIP))


async def test_each_trip_ends_by_the_version_that_it_began_with(
    running: Service, tmp_path: Path
) -> None:
    first = VersionedWorker(running, ROOT, "v1")
    second = VersionedWorker(running, other_version(tmp_path), "v2")
    load = Load(running)

    def roll_on_and_back() -> None:
        # A version that nobody has made current is ready, and the API is not: it gets no trips.
        first.start_and_wait()
        not_current = 503, "No version of the worker is current; polling: trip-booking v1"
        wait_until(lambda: readiness(running) == not_current, "the API tells why it is not ready")
        make_current(running, "v1")
        until_bookable(running)
        with load.running():
            load.further(2 * CALLERS)
            second.start_and_wait()
            load.further(2 * CALLERS)
            # Its trips wait until it is back: nobody else can go on with them.
            first.kill()
            make_current(running, "v2")
            first.start_and_wait()
            until_it_is("drained", running, "v1")
            load.further(CALLERS)
            assert readiness(running, first.port)[0] == 200
            assert first.stop() == 0
            load.further(2 * CALLERS)
            first.start_and_wait()
            make_current(running, "v1")
            until_it_is("drained", running, "v2")
            assert second.stop() == 0
            load.further(2 * CALLERS)

    await asyncio.to_thread(roll_on_and_back)
    client = await Client.connect(running.temporal_address)
    order = []
    for trip_id in load.trips:
        (build,), steps = await ran(client, trip_id)
        assert steps == BOOKED_BY[build]
        order.append(build)
    # First v1, then v2, then v1 again.
    assert order[0] == order[-1] == "v1"
    assert "v2" in order


async def test_the_first_version_goes_on_with_the_trips_of_workers_that_had_none(
    running: Service,
) -> None:
    unversioned = VersionedWorker(running, ROOT, None)
    versioned = VersionedWorker(running, ROOT, "v1")

    def begin_and_go_on() -> str:
        unversioned.start_and_wait()
        until_bookable(running)
        trip_id = begin(running)
        wait_until(lambda: "car" in running.reserved(trip_id), "its car is booked")
        unversioned.kill()
        assert "flight" not in running.reserved(trip_id)
        versioned.start_and_wait()
        make_current(running, "v1")
        until_shown(running, trip_id, "booked")
        return trip_id

    trip_id = await asyncio.to_thread(begin_and_go_on)
    client = await Client.connect(running.temporal_address)
    assert await ran(client, trip_id) == ({"v1"}, BOOKED_BY["v1"])


async def test_a_stuck_trip_needs_its_version_or_one_that_fits_or_is_undone_anew(
    tmp_path: Path,
) -> None:
    suppliers_port = free_port()
    with without_workers(**supplier_urls(suppliers_port), UNDO_ATTEMPTS=1) as running:
        running.simulated_suppliers("--port", str(suppliers_port)).start()
        first = VersionedWorker(running, ROOT, "v1")
        fitting = VersionedWorker(running, ROOT, "v1.1")
        second = VersionedWorker(running, other_version(tmp_path), "v2")

        def abandon_and_resolve() -> tuple[str, str]:
            first.start_and_wait()
            make_current(running, "v1")
            until_bookable(running)
            items = {"car": "non-refundable-car", "flight": "sold-out-flight"}
            moved, ended = (begin(running, **items) for _ in range(2))
            for trip_id in (moved, ended):
                until_shown(running, trip_id, "needs_attention")
            second.start_and_wait()
            make_current(running, "v2")
            assert first.stop() == 0
            until_it_is("draining", running, "v1")
            answer = resolve(running, moved)
            told = "No worker of the trip's version answers; try again."
            assert (answer.status, answer.body["detail"]) == (503, told)

            fitting.start_and_wait()
            move(running, moved, "v1.1")
            # What was asked of it before waits a moment for the version that is away.
            wait_until(lambda: resolve(running, moved).status == 200, "its new version answers")
            until_shown(running, moved, "rolled_back")

            temporal(running, "workflow", "terminate", "--workflow-id", ended)
            assert running.request("POST", f"/bookings/{ended}/cancel").status == 202
            assert resolve(running, ended).status == 200
            until_shown(running, ended, "cancelled")
            until_it_is("drained", running, "v1")
            return moved, ended

        moved, ended = await asyncio.to_thread(abandon_and_resolve)
        client = await Client.connect(running.temporal_address)
        assert (await ran(client, moved))[0] == {"v1", "v1.1"}
        assert (await ran(client, cancellation_id(ended)))[0] == {"v2"}


def begin(running: Service, **items: str) -> str:
    """Start a trip and return its id."""
    asynchronously = {"Prefer": "respond-async"}
    answer = running.request("POST", "/book", TRIP | items, asynchronously)
    return str(answer.body["user_id"])


def resolve(running: Service, trip_id: str) -> Answer:
    note = {"note": "Cancelled by telephone."}
    return running.request("POST", f"/bookings/{trip_id}/undo/car/resolve", note)
