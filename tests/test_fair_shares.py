"""One caller that books hundreds of trips at once, and another one that books a few after it.

It holds no place while they wait for a worker, so it is Temporal that lets them take turns.
"""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.api.test_access import bearer
from tests.processes import Service, service, wait_until

MANY, FEW = 150, 10
KEYS = {"many": "0123456789-of-many", "few": "0123456789-of-few"}

TRIP = {"name": "Jo", "car": "a-car", "hotel": "a-hotel", "flight": "a-flight"}


def book(shared: Service, caller: str) -> int:
    headers = bearer(KEYS[caller]) | {"Prefer": "respond-async"}
    return shared.request("POST", "/book", TRIP, headers).status


@pytest.mark.slow
def test_trips_of_one_caller_do_not_wait_behind_all_of_anothers() -> None:
    keys = ",".join(f"{name}:{secret}" for name, secret in KEYS.items())
    with service(API_KEYS=keys) as shared:
        shared.temporal.start()
        shared.api.start()
        wait_until(lambda: shared.status_of("/livez") == 200, "the API is alive")
        wait_until(lambda: book(shared, "many") == 202, "Temporal is there")
        with ThreadPoolExecutor(8) as callers:
            asked = callers.map(lambda _: book(shared, "many"), range(MANY - 1))
            assert set(asked) == {202}
        assert {book(shared, "few") for _ in range(FEW)} == {202}
        shared.workers[0].start()
        wait_until(lambda: len(ended(shared)) == MANY + FEW, "all trips have ended")
        order = ended(shared)
        last = max(place for place, owner in enumerate(order) if owner == "few")
        assert last < MANY / 2, f"The last of the few has ended in place {last} of {len(order)}"


def ended(shared: Service) -> list[str]:
    """Return the owners of the trips that are booked, in the order in which they were."""
    path = shared.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30)) as file:
        rows = file.execute("SELECT owner FROM trips WHERE closed_at NOTNULL ORDER BY closed_at")
        return [owner for (owner,) in rows]
