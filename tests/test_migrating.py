"""Real processes whose database has an older schema than they do."""

import subprocess
import sys

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
from tests.record.databases import revision_of
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


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_processes_wait_for_an_older_schema_to_be_migrated_and_go_on_by_themselves(
    database: Database,
) -> None:
    with service(database, FAST_TIMERS) as older:
        older.temporal.start()
        if older.postgres:
            older.postgres.start()
            older.postgres.wait_for_output("database system is ready to accept connections")
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
        older.wait_until_ready()
        answer = older.request("POST", "/book", TRIP)
        assert (answer.status, answer.body["cancelled"]) == (200, False)
        assert older.reserved(answer.body["user_id"]) == ITEMS
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
