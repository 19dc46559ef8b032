"""A changed workflow is rolled out under open trips, by the commands of `docs/rollouts.md`."""

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import VersioningBehavior

from shared import KINDS, cancellation_id
from tests.processes import (
    FAST_FORGETTING,
    FAST_TIMERS,
    ROOT,
    Answer,
    Process,
    Service,
    free_port,
    service,
    supplier_urls,
    wait_until,
)
from tests.rollouts import (
    BOOKED,
    BOOKED_BY,
    FAST_DRAINING,
    drained,
    make_current,
    move,
    other_version,
    ran,
    status_of,
    temporal,
    worker_of,
)

pytestmark = pytest.mark.slow

CALLERS = 8
TRIP = {"name": "Jo", "attempts": 5, **{str(kind): f"valid-{kind}" for kind in KINDS}}

HOTEL_TAKES = 0.5
"""Seconds. So some trips are always between two steps."""


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
    with without_workers(HOTEL_LATENCY_SECONDS=HOTEL_TAKES) as started:
        yield started


class Load:
    """Callers who book one trip after the other."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self._stopped = threading.Event()
        self._answers: list[Answer] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CALLERS) as pool:
            callers: list[Future[None]] = [pool.submit(self._call) for _ in range(CALLERS)]
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


def readiness(running: Service, port: int | None = None) -> tuple[int, str]:
    try:
        answer = running.request("GET", "/readyz", port=port)
    except OSError:
        return 0, "nobody answers"
    return answer.status, answer.body.get("detail", "")


def start(running: Service, worker: Process, port: int) -> str:
    """Start a worker, wait until it is ready, and return how Temporal calls it."""
    worker.start()
    wait_until(lambda: readiness(running, port)[0] == 200, f"{worker.name} is ready")
    return f"{worker.pid}@{socket.gethostname()}"


def until_bookable(running: Service) -> None:
    wait_until(lambda: readiness(running)[0] == 200, "the API is ready")


def book(running: Service, **items: str) -> str:
    """Start a trip and return its id."""
    asynchronously = {"Prefer": "respond-async"}
    answer = running.request("POST", "/book", TRIP | items, asynchronously)
    return str(answer.body["user_id"])


def begun_by(running: Service, worker: Process, port: int) -> str:
    """Have a worker begin a trip, kill it before the trip has ended, and return the trip's id."""
    start(running, worker, port)
    until_bookable(running)
    trip_id = book(running)
    wait_until(lambda: "car" in running.reserved(trip_id), "its car is booked")
    worker.kill()
    assert "flight" not in running.reserved(trip_id)
    return trip_id


async def test_each_trip_ends_by_the_version_that_it_began_with(
    running: Service, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    first = worker_of(running, ROOT, "first", ports[0], "v1")
    second = worker_of(running, other_version(tmp_path), "second", ports[1], "v2")
    load = Load(running)
    names: dict[str, set[str]] = {"v1": set(), "v2": set()}

    def roll_on_and_back() -> None:
        # A version that nobody has made current is ready, and the API is not: it gets no trips.
        names["v1"].add(start(running, first, ports[0]))
        not_current = 503, "No version of the worker is current; polling: trip-booking v1"
        wait_until(lambda: readiness(running) == not_current, "the API tells why it is not ready")
        make_current(running, "v1")
        until_bookable(running)
        with load.running():
            load.further(2 * CALLERS)
            names["v2"].add(start(running, second, ports[1]))
            load.further(2 * CALLERS)
            # Its trips wait until it is back: nobody else can go on with them.
            first.kill()
            make_current(running, "v2")
            names["v1"].add(start(running, first, ports[0]))
            wait_until(drained(running, "v1"), "the first version is drained")
            load.further(CALLERS)
            assert readiness(running, ports[0])[0] == 200
            assert first.stop() == 0
            load.further(2 * CALLERS)
            names["v1"].add(start(running, first, ports[0]))
            make_current(running, "v1")
            wait_until(drained(running, "v2"), "the second version is drained")
            assert second.stop() == 0
            load.further(2 * CALLERS)

    await asyncio.to_thread(roll_on_and_back)
    client = await Client.connect(running.temporal_address)
    trips = [await ran(client, trip_id) for trip_id in load.trips]
    for trip in trips:
        (build,) = trip.builds
        assert (trip.steps, trip.failures) == (BOOKED_BY[build], [])
        assert trip.behaviors == {VersioningBehavior.PINNED}
        assert trip.workers <= names[build]
    # First v1, then v2, then v1 again; and some went on when their killed worker was back.
    order = [build for build, _ in itertools.groupby(next(iter(trip.builds)) for trip in trips)]
    assert order[0] == order[-1] == "v1"
    assert "v2" in order
    assert any(len(trip.workers) > 1 for trip in trips)


async def test_the_first_version_goes_on_with_the_trips_of_workers_that_had_none(
    running: Service,
) -> None:
    ports = free_port(), free_port()
    unversioned = worker_of(running, ROOT, "unversioned", ports[0], None)
    versioned = worker_of(running, ROOT, "versioned", ports[1], "v1")

    def begin_and_go_on() -> str:
        trip_id = begun_by(running, unversioned, ports[0])
        start(running, versioned, ports[1])
        make_current(running, "v1")
        until_shown(running, trip_id, "booked")
        return trip_id

    trip_id = await asyncio.to_thread(begin_and_go_on)
    trip = await ran(await Client.connect(running.temporal_address), trip_id)
    assert trip.builds == {"v1"}
    assert (trip.steps, trip.failures) == (BOOKED, [])


async def test_a_stuck_trip_needs_its_version_or_one_that_fits_or_is_undone_anew(
    tmp_path: Path,
) -> None:
    suppliers_port = free_port()
    with without_workers(**supplier_urls(suppliers_port), UNDO_ATTEMPTS=1) as running:
        running.simulated_suppliers("--port", str(suppliers_port)).start()
        ports = free_port(), free_port(), free_port()
        first = worker_of(running, ROOT, "first", ports[0], "v1")
        fitting = worker_of(running, ROOT, "fitting", ports[1], "v1.1")
        second = worker_of(running, other_version(tmp_path), "second", ports[2], "v2")

        def abandon_and_resolve() -> tuple[str, str]:
            start(running, first, ports[0])
            make_current(running, "v1")
            until_bookable(running)
            items = {"car": "non-refundable-car", "flight": "sold-out-flight"}
            moved, ended = (book(running, **items) for _ in range(2))
            for trip_id in (moved, ended):
                until_shown(running, trip_id, "needs_attention")
            start(running, second, ports[2])
            make_current(running, "v2")
            assert first.stop() == 0
            wait_until(lambda: status_of(running, "v1") == "draining", "the first one drains")
            answer = resolve(running, moved)
            told = "No worker of the trip's version answers; try again."
            assert (answer.status, answer.body["detail"]) == (503, told)

            start(running, fitting, ports[1])
            move(running, moved, "v1.1")
            # What was asked of it before waits a moment for the version that is away.
            wait_until(lambda: resolve(running, moved).status == 200, "its new version answers")
            until_shown(running, moved, "rolled_back")

            temporal(running, "workflow", "terminate", "--workflow-id", ended)
            assert running.request("POST", f"/bookings/{ended}/cancel").status == 202
            assert resolve(running, ended).status == 200
            until_shown(running, ended, "cancelled")
            wait_until(drained(running, "v1"), "the first version is drained")
            return moved, ended

        moved, ended = await asyncio.to_thread(abandon_and_resolve)
        client = await Client.connect(running.temporal_address)
        assert (await ran(client, moved)).builds == {"v1", "v1.1"}
        assert (await ran(client, cancellation_id(ended))).builds == {"v2"}


def until_shown(running: Service, trip_id: str, status: str) -> None:
    path = f"/bookings/{trip_id}"
    wait_until(lambda: running.request("GET", path).body["status"] == status, f"it is {status}")


def resolve(running: Service, trip_id: str) -> Answer:
    note = {"note": "Cancelled by telephone."}
    return running.request("POST", f"/bookings/{trip_id}/undo/car/resolve", note)
