"""Real processes and the schema: brand-new, older than they are, and newer than they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared import KINDS
from tests.processes import (
    DEADLINE,
    FAST_TIMERS,
    ROOT,
    Database,
    Service,
    bare_environment,
    service,
    wait_until,
)
from tests.record.databases import make_newer, revision_of
from tests.record.test_earlier_versions import SHAPES_OF_2_0_0, write

ITEMS: dict[str, str] = {kind: f"{kind}-1" for kind in KINDS}
TRIP = {"name": "Ada", "attempts": 5, **ITEMS}

OUTDATED = "The record's schema is older than this version: run `make migrate`"

BOOKED_HERE = {
    trip_id: shape
    for trip_id, shape in SHAPES_OF_2_0_0.items()
    if not any(row.get("supplier") for row in shape.rows)
}
"""Trips whose every step is the embedded suppliers', which are the ones set up here."""

on_both = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


def start_all_but_ours(started: Service) -> None:
    """Start Temporal and the database, and wait until the database takes connections."""
    started.temporal.start()
    if started.postgres:
        started.postgres.start()
        started.postgres.wait_for_output("database system is ready to accept connections")


def books(started: Service) -> None:
    """Wait until the service is ready and book a trip."""
    started.wait_until_ready()
    answer = started.request("POST", "/book", TRIP)
    assert (answer.status, answer.body["cancelled"]) == (200, False)
    assert started.reserved(answer.body["user_id"]) == ITEMS
    assert started.request("POST", f"/bookings/{answer.body['user_id']}/cancel").status == 200
    assert started.reserved(answer.body["user_id"]) == {}


@pytest.mark.slow
@on_both
def test_processes_wait_for_an_older_schema_to_be_migrated_and_go_on_by_themselves(
    database: Database,
) -> None:
    with service(database, FAST_TIMERS) as older:
        start_all_but_ours(older)
        write(older.database_url, BOOKED_HERE)
        worker = older.workers[0]
        worker.start()
        older.api.start()
        worker.wait_for_output(f"Waiting for the database: {OUTDATED}")
        wait_until(lambda: older.status_of("/livez") == 200, "the API answers")
        for method, path, body in [
            ("POST", "/book", TRIP),
            ("GET", "/bookings", None),
            ("GET", "/bookings/booked", None),
        ]:
            answer = older.request(method, path, body)
            assert (answer.status, answer.body["detail"]) == (503, f"{OUTDATED}; try again.")
        ready = older.request("GET", "/readyz")
        assert (ready.status, ready.body["detail"]) == (503, OUTDATED)
        assert revision_of(older.database_url) == "0006"

        both = [make_migrate(older) for _ in range(2)]
        assert [process.wait(DEADLINE) for process in both] == [0, 0]
        books(older)
        cancels_what_was_booked_before(older)


def cancels_what_was_booked_before(older: Service) -> None:
    """List the trips that were booked before the migration, and cancel each."""
    listed = older.request("GET", "/bookings?status=booked").body["bookings"]
    trips = [trip["user_id"] for trip in listed]
    assert "booked" in trips
    for trip in trips:
        found = older.request("GET", f"/bookings/{trip}")
        assert (found.status, found.body["status"]) == (200, "booked")
        assert {step["state"] for step in found.body["steps"]} == {"booked"}
        cancelled = older.request("POST", f"/bookings/{trip}/cancel")
        assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
        assert older.reserved(trip) == {}
    assert older.request("GET", "/bookings?status=booked").body["bookings"] == []


def make_migrate(older: Service) -> subprocess.Popen[bytes]:
    """Do what `make migrate` does."""
    settings = bare_environment() | older.settings
    return subprocess.Popen([sys.executable, "-m", "record"], cwd=ROOT, env=settings)


@pytest.mark.slow
@on_both
def test_processes_that_work_go_on_while_the_schema_is_migrated(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(database, FAST_TIMERS) as growing:
        growing.start()
        books(growing)
        make_newer(growing.database_url, monkeypatch, tmp_path)
        books(growing)
        # And who is started anew after it, as by a rolling deployment or its return.
        growing.workers[0].stop()
        growing.workers[0].start()
        books(growing)
