"""One caller that books hundreds of trips at once, and another one that books a few after it.

It holds no place while they wait for a worker, so it is Temporal that lets them take turns.
"""

import asyncio
import sqlite3
import statistics
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from temporalio.client import Client

from tests.api.test_access import bearer
from tests.processes import Service, service, wait_until
from tests.trips import events

MANY, FEW = 150, 10
KEYS = {"many": "0123456789-of-many", "few": "0123456789-of-few"}

TRIP = {"name": "Jo", "car": "a-car", "hotel": "a-hotel", "flight": "a-flight"}


def book(shared: Service, caller: str) -> None:
    """Ask for a trip, as often as it takes: Temporal may not be there yet, or be late."""
    once = {"Prefer": "respond-async", "Idempotency-Key": uuid.uuid4().hex}
    headers = bearer(KEYS[caller]) | once
    wait_until(
        lambda: shared.request("POST", "/book", TRIP, headers).status == 202, "it is accepted"
    )


@pytest.mark.slow
def test_trips_of_one_caller_do_not_wait_behind_all_of_anothers() -> None:
    keys = ",".join(f"{name}:{secret}" for name, secret in KEYS.items())
    with service(API_KEYS=keys) as shared:
        shared.temporal.start()
        shared.api.start()
        wait_until(lambda: shared.status_of("/livez") == 200, "the API is alive")
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda _: book(shared, "many"), range(MANY)))
        for _ in range(FEW):
            book(shared, "few")
        shared.workers[0].start()
        wait_until(lambda: len(ended(shared)) == MANY + FEW, "all trips have ended")
        order = asyncio.run(begun(shared, ended(shared)))
        places = [place for place, owner in enumerate(order) if owner == "few"]
        # Without fairness they are the last; with it some are, when the machine has much to do.
        assert statistics.median(places) < MANY / 2, f"The few have begun in places {places}"


def ended(shared: Service) -> list[str]:
    """Return the ids of the trips that have ended."""
    path = shared.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30)) as file:
        return [row[0] for row in file.execute("SELECT trip_id FROM trips WHERE closed_at NOTNULL")]


async def begun(shared: Service, trips: Iterable[str]) -> list[str]:
    """Return the trips' owners in the order in which Temporal gave the trips to a worker."""
    client = await Client.connect(shared.temporal_address)
    times = []
    for trip in trips:
        history = await events(client.get_workflow_handle(trip))
        owner = history[0].workflow_execution_started_event_attributes.priority.fairness_key
        taken = (e for e in history if e.HasField("workflow_task_started_event_attributes"))
        times.append((next(taken).event_time.ToNanoseconds(), owner))
    return [owner for _, owner in sorted(times)]
