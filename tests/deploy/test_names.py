"""A live service tells every metric, label and value that alerts and dashboard ask for."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from audit import DIFFERENCES
from shared import KINDS, TASK_QUEUE_NAME
from tests.deploy.asking import OF_PROMETHEUS, questions, selectors
from tests.processes import (
    DEADLINE,
    ROOT,
    Process,
    Service,
    bare_environment,
    free_port,
    service,
    supplier_urls,
    wait_until,
)

pytestmark = pytest.mark.slow

Samples = Mapping[str, list[dict[str, str]]]
"""The labels of every sample, by the name it has."""


KNOWN = {"difference": set(DIFFERENCES)}
"""Values that need not be told: each takes a fault of its own."""


def scrape(*ports: int) -> Samples:
    samples = defaultdict(list)
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                for sample in family.samples:
                    samples[sample.name].append(sample.labels)
    return samples


def missing(samples: Samples) -> list[str]:
    """Return a sentence for each metric, label and value that is asked for and not told."""
    asked = {
        selector: where
        for where, expression in questions()
        for selector in selectors(expression)
        if selector.metric not in OF_PROMETHEUS
    }
    said = []
    for selector, where in asked.items():
        told = samples.get(selector.metric, [])
        if not told:
            said.append(f"{where}: there is no {selector.metric}")
        elif strange := selector.labels.difference(*told):
            said.append(f"{where}: {selector.metric} has no {strange}")
        for label, value in selector.values:
            if value not in {labels.get(label) for labels in told} | KNOWN.get(label, set()):
                said.append(f"{where}: {selector.metric} has no {label}={value}")
    return said


async def test_a_live_service_tells_all_that_is_asked_for() -> None:
    worker, suppliers = free_port(), free_port()
    urls: dict[str, Any] = {
        **supplier_urls(suppliers),
        "WEBHOOK_URL": f"http://127.0.0.1:{free_port()}",
        "WEBHOOK_SECRET": f"whsec_{'a' * 32}",
    }
    with service(METRICS_PORT=worker, RETRY_INTERVAL_SECONDS=0.1, **urls) as running:
        simulator = running.simulated_suppliers("--port", str(suppliers))
        simulator.start()
        simulator.wait_for_output("Suppliers at")
        running.start()

        client = await Client.connect(running.temporal_address)
        await everything_happens(running, client, simulator)

        def untold() -> list[str]:
            return missing(scrape(running.api_port, worker))

        with contextlib.suppress(AssertionError):  # What is missing is shown below.
            await asyncio.to_thread(wait_until, lambda: not untold(), "all is told")
        assert untold() == []


async def everything_happens(running: Service, client: Client, simulator: Process) -> None:
    """Let the service meet with everything that is counted only once it has happened."""
    trip = {name: f"a-{name}" for name in ("name", *KINDS)}
    key = {"Idempotency-Key": "used-twice"}
    # What the flaky supplier's first answers leave open is whether it has booked.
    assert running.request("POST", "/book", trip | {"hotel": "flaky-hotel"}, key).status == 200
    assert running.request("POST", "/book", trip | {"car": "sold-out-car"}).body["cancelled"]
    assert running.request("POST", "/book", trip, key).status == 422
    for path in ("/bookings", "/livez", "/readyz"):
        running.request("GET", path)
    # The page's form: refused, for it is empty, and answered with a page.
    with pytest.raises(json.JSONDecodeError):
        running.request("POST", "/trips", {})
    lose_reservations(running)
    # No worker knows this workflow, so its tasks fail.
    await client.start_workflow("Unknown", id="unknown", task_queue=TASK_QUEUE_NAME)
    simulator.kill()
    waiting = running.request("POST", "/book", trip, {"Prefer": "respond-async"}).body["user_id"]
    wait_until(
        lambda: running.request("GET", f"/bookings/{waiting}").body["steps"][0]["last_error"],
        "a supplier cannot be reached",
    )
    running.temporal.kill()


def lose_reservations(running: Service) -> None:
    """Have the record forget what booked trips hold, and audit: a difference."""
    database = running.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(database, timeout=DEADLINE)) as record, record:
        record.execute("UPDATE reservations SET state = 'cancelled' WHERE state = 'reserved'")
    audited = subprocess.run(
        [sys.executable, "-m", "audit"],
        cwd=ROOT,
        env=bare_environment() | running.settings,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert audited.returncode == 1, audited.stdout + audited.stderr
