"""Real processes over a database that misbehaves: gone, frozen or locked.

The API says so, the trips that are under way wait for it, an order to stop is obeyed in time, and
once it is well again all goes on by itself.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import psutil
import psycopg
import pytest

from lifecycle import STOP_LIMIT
from shared import KINDS
from tests.processes import FAST_TIMERS, Answer, Process, Service, free_port, service, wait_until

pytestmark = pytest.mark.slow

ITEMS: dict[str, str] = {kind: f"{kind}-1" for kind in KINDS}
TRIP = {"name": "Ada", "attempts": 100, **ITEMS}

GRACE = 2.0
LEAVING = 10.0
"""Seconds for all that is neither the worker's grace nor the limit of a stop; on a machine that
others use, too."""

LIMITS = {
    "WORKER_GRACE_SECONDS": GRACE,
    "RETRY_INTERVAL_SECONDS": 0.1,
    "RETRY_INTERVAL_CAP_SECONDS": 0.5,
    "HOTEL_LATENCY_SECONDS": 1,
}


@pytest.fixture(scope="module")
def booking() -> Iterator[Service]:
    """The service on a PostgreSQL of its own. Each test leaves it as it was."""
    with service("postgresql", FAST_TIMERS, **LIMITS) as started:
        started.start()
        yield started


# The faults


@contextmanager
def gone(booking: Service) -> Iterator[None]:
    """Kill the database; in the end start it again."""
    assert booking.postgres
    booking.postgres.kill()
    try:
        yield
    finally:
        booking.postgres.start()


@contextmanager
def frozen(booking: Service) -> Iterator[None]:
    """Freeze the database with all its processes."""
    assert booking.postgres
    server = psutil.Process(booking.postgres.pid)
    server.suspend()
    children = server.children(recursive=True)
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for process in (*children, server):
            process.resume()


@contextmanager
def locked(
    booking: Service, statement: psycopg.abc.Query = "LOCK TABLE trips IN ACCESS EXCLUSIVE MODE"
) -> Iterator[None]:
    """Lock something, as somebody does who forgets a transaction."""
    assert booking.postgres
    conninfo = f"user=postgres dbname=postgres host={booking.postgres.log.parent}"
    with psycopg.connect(conninfo) as connection:
        connection.execute(statement)
        yield
        connection.rollback()


Fault = Callable[[Service], AbstractContextManager[None]]

REASONS: dict[Fault, set[str]] = {
    gone: {"The record is unavailable"},
    # Which limit ends a call depends on what it waited for.
    frozen: {"The record does not answer", "The record is unavailable"},
    locked: {"The record is locked"},
}


# What the service does then


def begin(booking: Service) -> str:
    """Begin a trip without waiting for its end, and return its id."""
    answer = booking.request("POST", "/book", TRIP, {"Prefer": "respond-async"})
    assert answer.status == 202
    return str(answer.body["user_id"])


def ends_booked(booking: Service, trip: str) -> None:
    """Wait until a trip has ended."""

    wait_until(lambda: status_of(booking, trip) not in (None, "running"), f"trip {trip} has ended")
    assert status_of(booking, trip) == "booked"
    assert booking.reserved(trip) == ITEMS


def status_of(booking: Service, trip: str) -> str | None:
    """Return how a trip stands, as the API tells; `None` when it cannot tell."""
    status: str | None = booking.request("GET", f"/bookings/{trip}").body.get("status")
    return status


def refused(answer: Answer, reasons: set[str]) -> None:
    """Check that the API has said what is wrong, and when to come again."""
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.body["detail"] in {f"{reason}; try again." for reason in reasons}
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("fault", [gone, frozen, locked])
def test_the_api_says_what_is_wrong_and_an_order_to_stop_is_obeyed_in_time(
    booking: Service, fault: Fault
) -> None:
    worker = booking.workers[0]
    trips = [begin(booking) for _ in range(20)]
    with fault(booking), ThreadPoolExecutor() as callers:
        for method, path in (
            ("POST", "/book"),
            ("GET", "/bookings"),
            ("GET", f"/bookings/{trips[0]}"),
        ):
            refused(
                booking.request(method, path, TRIP if method == "POST" else None), REASONS[fault]
            )
        ready = booking.request("GET", "/readyz")
        assert (ready.status, ready.body["detail"] in REASONS[fault]) == (503, True)
        assert booking.status_of("/livez") == 200

        calls = [callers.submit(booking.request, "POST", "/book", TRIP) for _ in range(5)]
        wait_until(lambda: "Completing activity as failed" in worker.output, "a try has failed")
        stops_in_time(worker)
        stops_in_time(booking.api)
        for call in calls:
            with contextlib.suppress(OSError):  # The API has ended before its answer.
                assert call.result().status in (202, 503)
        # Who has only just started and waits for the database obeys, too.
        worker.start()
        worker.wait_for_output("Waiting for the database")
        stops_in_time(worker)
    worker.start()
    booking.api.start()
    booking.wait_until_ready()
    for trip in trips:
        ends_booked(booking, trip)


def test_an_order_to_stop_is_obeyed_while_trips_wait_to_be_recorded(booking: Service) -> None:
    worker = booking.workers[0]
    with ThreadPoolExecutor(10) as callers:
        trips = list(callers.map(begin, [booking] * 10))
    wait_until(lambda: all(map(booking.reserved, trips)), "all trips are claimed")
    # In this mode a trip may be looked up and locked, but none may be written.
    with locked(booking, "LOCK TABLE trips IN SHARE MODE"):
        held = [trip for trip in trips if booking.reserved(trip) != ITEMS]
        assert held
        wait_until(
            lambda: all(booking.reserved(trip) == ITEMS for trip in trips), "all is reserved"
        )
        wait_until(lambda: "The record is locked" in worker.output, "a trip cannot be recorded")
        # Nobody learns an outcome that is not recorded.
        assert {status_of(booking, trip) for trip in held} == {"running"}
        stops_in_time(worker)
    worker.start()
    for trip in trips:
        ends_booked(booking, trip)


def stops_in_time(process: Process) -> None:
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < GRACE + STOP_LIMIT + LEAVING
    assert "Traceback" not in process.output.partition("Stopping on")[2]


@pytest.mark.parametrize("command", [["run_worker.py"], ["starter.py"], ["-m", "record"]])
def test_a_process_whose_database_is_not_set_up_for_it_ends_with_one_line(
    booking: Service, command: list[str]
) -> None:
    wrong = booking.database_url + "&user=nobody"
    process = booking.python("wrong", command[0], DATABASE_URL=wrong, PORT=str(free_port()))
    process.add_options(*command[1:])
    process.start()
    assert process.exit_code() == 1
    last = process.output.splitlines()[-1]
    assert "The record's database is not set up for it: connection failed: " in last
    assert last.endswith('role "nobody" does not exist')
