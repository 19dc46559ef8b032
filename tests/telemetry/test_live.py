"""The real processes: every name that dashboards and alerts rest on, and the worker's health."""

import contextlib
import json
import math
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared import KINDS
from telemetry.sdk import BUCKETS
from tests.processes import (
    DEADLINE,
    ROOT,
    Service,
    bare_environment,
    free_port,
    service,
    supplier_urls,
    wait_until,
)
from tests.telemetry.scraping import Scrape, scrape
from tests.test_database_faults import Fault, frozen

pytestmark = pytest.mark.slow

PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}
DATABASE = {"booking_database_connections": "gauge", "booking_database_connections_max": "gauge"}

OF_THE_API = (
    PROCESS
    | DATABASE
    | {
        "booking_audit_differences": "gauge",
        "booking_audit_last_success_timestamp_seconds": "gauge",
        "booking_idempotency_key_conflicts_total": "counter",
        "booking_outcome_unknown_oldest_age_seconds": "gauge",
        "booking_event_undelivered_oldest_age_seconds": "gauge",
        "booking_events_undelivered": "gauge",
        "booking_outcomes_unknown": "gauge",
        "booking_places": "gauge",
        "booking_places_in_use": "gauge",
        "booking_requests_waiting": "gauge",
        "booking_record_up": "gauge",
        "booking_trips_accepted_total": "counter",
        "booking_trips_open": "gauge",
        "booking_trips_past_deadline": "gauge",
        "booking_undo_stuck_oldest_age_seconds": "gauge",
        "booking_undos_stuck": "gauge",
        "http_server_request_duration_seconds": "histogram",
    }
)
OF_THE_WORKER = (
    PROCESS
    | DATABASE
    | {
        "booking_supplier_call_duration_seconds": "histogram",
        "booking_tries_total": "counter",
        "booking_trip_duration_seconds": "histogram",
        "booking_trips_ended_total": "counter",
        "booking_try_duration_seconds": "histogram",
    }
)
"""All names of ours, with their types: a dashboard breaks when one of them changes."""

OF_THE_SDK = {
    "temporal_request_total": "counter",
    "temporal_request_latency_seconds": "histogram",
}
OF_THE_WORKERS_SDK = OF_THE_SDK | {
    "temporal_num_pollers": "gauge",
    "temporal_worker_task_slots_available": "gauge",
    "temporal_worker_task_slots_used": "gauge",
    "temporal_workflow_completed_total": "counter",
    **{f"temporal_{name}_seconds": "histogram" for name in BUCKETS},
}
"""Those of the SDK that tell of pollers, slots and times; more appear as things happen."""

TRIP = {"name": "Jo Unmistakable", **{str(kind): f"an-unmistakable-{kind}" for kind in KINDS}}


class Watched:
    """A service whose first worker has a port."""

    def __init__(self, running: Service) -> None:
        self.service = running
        self.port = int(running.settings["METRICS_PORT"])

    def worker_says(self, path: str, limit: float = 10.0) -> tuple[int, str]:
        """Return status and text of an answer. Raises `OSError`."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=limit) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())["detail"]

    def is_ready(self) -> bool:
        try:
            return self.worker_says("/readyz")[0] == 200
        except OSError:
            return False


def ours(found: Scrape) -> dict[str, str]:
    return {name: kind for name, kind in found.types.items() if not name.startswith("temporal_")}


def test_every_name_is_what_dashboards_and_alerts_rest_on() -> None:
    suppliers = free_port()
    with service(METRICS_PORT=free_port()) as running:
        # Read when a process is made; the car is booked in the record.
        urls = supplier_urls(suppliers)
        running.settings |= {name: url for name, url in urls.items() if "CAR" not in name}
        running.api = running.python("api", "starter.py")
        running.workers[0] = running.python("worker", "run_worker.py")
        watched = Watched(running)
        running.simulated_suppliers("--port", str(suppliers)).start()
        running.start()
        assert watched.is_ready()
        user_ids = [
            running.request("POST", "/book", TRIP | changes).body["user_id"]
            for changes in ({}, {"flight": "sold-out-flight"})
        ]
        assert running.request("POST", f"/bookings/{user_ids[0]}/cancel").status == 200
        audit = [sys.executable, "-m", "audit"]
        environment = bare_environment() | running.settings
        subprocess.run(audit, cwd=ROOT, env=environment, check=True, timeout=DEADLINE)
        api, worker = scrape(running.api_port), scrape(watched.port)

        assert ours(api) == OF_THE_API
        assert ours(worker) == OF_THE_WORKER
        assert api.types.items() >= OF_THE_SDK.items()
        assert worker.types.items() >= OF_THE_WORKERS_SDK.items()

        booked = worker.counts("booking_tries_total", "kind", "supplier", "action", "outcome")
        for kind, supplier in (("car", "embedded"), ("hotel", f"127.0.0.1:{suppliers}")):
            assert booked[kind, supplier, "book", "done"] == 2
        for name, bounds in BUCKETS.items():
            found = {
                float(labels["le"])
                for each, labels, _ in worker.samples()
                if each == f"temporal_{name}_seconds_bucket"
            }
            assert found == {*map(float, bounds), math.inf}, name
        told = " ".join(api.label_values() | worker.label_values())
        assert "unmistakable" not in told.lower()
        assert not any(user_id in told for user_id in user_ids)


def test_a_stopping_worker_is_not_ready_and_tells_its_metrics_to_the_end() -> None:
    with service(
        METRICS_PORT=free_port(), HOTEL_LATENCY_SECONDS=4, WORKER_GRACE_SECONDS=30
    ) as running:
        watched = Watched(running)
        running.start()
        assert watched.is_ready()
        path = running.request("POST", "/book", TRIP, {"Prefer": "respond-async"}).body["location"]
        worker = running.workers[0]
        worker.wait_for_output("Booking hotel")
        worker.send(signal.SIGTERM)
        worker.wait_for_output("Stopping on SIGTERM")
        assert watched.worker_says("/readyz") == (503, "The worker is stopping")
        assert watched.worker_says("/livez")[0] == 200
        answered = 0
        with contextlib.suppress(OSError):
            while True:
                scrape(watched.port)
                answered += 1
                time.sleep(0.1)
        silent = time.monotonic()
        assert worker.exit_code() == 0
        assert time.monotonic() - silent < 2, "It answers until the end"
        assert answered > 10, "The try had seconds to go"
        steps = running.request("GET", path).body["steps"]
        assert [step["state"] for step in steps][:2] == ["booked", "booked"]


@contextmanager
def temporal_frozen(running: Service) -> Iterator[None]:
    running.temporal.freeze()
    yield
    running.temporal.thaw()


@pytest.mark.parametrize("fault", [frozen, temporal_frozen])
def test_what_is_away_makes_the_worker_unready_and_holds_no_scrape_up(fault: Fault) -> None:
    with service("postgresql", METRICS_PORT=free_port()) as running:
        watched = Watched(running)
        running.start()
        assert watched.is_ready()
        assert scrape(running.api_port).value("booking_record_up") == 1
        with fault(running):
            wait_until(lambda: not watched.is_ready(), "the worker is not ready")
            assert watched.worker_says("/readyz")[0] == 503
            assert watched.worker_says("/livez")[0] == 200
            assert "booking_tries_total" in scrape(watched.port, limit=3).types
            record_is_up = float(fault is temporal_frozen)
            wait_until(
                lambda: (
                    scrape(running.api_port, limit=5).value("booking_record_up") == record_is_up
                ),
                "the API tells whether the record can be read",
            )
        wait_until(watched.is_ready, "the worker is ready again")
        wait_until(
            lambda: scrape(running.api_port).value("booking_record_up") == 1, "the record is back"
        )
        assert running.workers[0].stop() == 0
