"""A worker that the operating system freezes in the middle of its bookings and thaws too late.

Other tests hold late tries back at a gate before the record; here the whole process sleeps through
what becomes of its trips, and knows nothing of it when it wakes up.
"""

import asyncio
import functools

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client

from shared import KINDS
from tests.processes import FAST_TIMERS, Database, Process, Service, service, wait_until

ITEMS: dict[str, str] = {kind: f"{kind}-1" for kind in KINDS}


def begin(sleepy: Service, name: str, **items: str) -> str:
    """Begin a trip without waiting for its end, and return its id."""
    body = {"name": name, "attempts": 1, **ITEMS, **items}
    headers = {"Prefer": "respond-async"}
    return str(sleepy.request("POST", "/book", body, headers).body["user_id"])


def at_the_hotel(sleepy: Service, trip_id: str) -> bool:
    """Tell whether a worker has begun to book the trip's hotel."""

    async def pending() -> list[tuple[str, int]]:
        client = await Client.connect(sleepy.temporal_address)
        trip = (await client.get_workflow_handle(trip_id).describe()).raw_description
        return [
            (activity.activity_type.name, activity.state) for activity in trip.pending_activities
        ]

    begun = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return ("book_hotel", begun) in asyncio.run(pending())


def has_ended(frozen: Process, trip: str) -> bool:
    """Tell whether a worker is done with the hotel of a trip."""
    ends = (f"{trip} - Booked hotel", f"{trip} - Completing activity as failed: ")
    return any(end in frozen.output for end in ends)


# Slow: the tasks that the frozen worker has swallowed time out after 10 s each.
@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_thawed_worker_neither_books_an_undone_trip_nor_books_twice(database: Database) -> None:
    settings = {
        "HOTEL_LATENCY_SECONDS": 1.5,
        "HEARTBEAT_TIMEOUT_SECONDS": 1,
        "RETRY_INTERVAL_SECONDS": 0.1,
        "TRY_TIMEOUT_SECONDS": 120,
    }
    with service(database, FAST_TIMERS, **settings) as sleepy:
        frozen, other = sleepy.workers
        sleepy.start(workers=1)
        # The frozen worker's open polls swallow tries, too.
        taken_over = begin(sleepy, "Taken Over")
        rolled_back = begin(sleepy, "Rolled Back", **{KINDS[-1]: "invalid"})
        cancelled = begin(sleepy, "Cancelled")
        trips = (taken_over, rolled_back, cancelled)
        wait_until(
            lambda: all(at_the_hotel(sleepy, trip) for trip in trips), "all trips are at the hotel"
        )

        frozen.freeze()
        other.start()
        sleepy.request("POST", f"/bookings/{cancelled}/cancel")
        ends = [sleepy.request("GET", f"/bookings/{trip}?wait=60").body["status"] for trip in trips]
        assert ends == ["booked", "rolled_back", "cancelled"]
        assert "Booked hotel" not in frozen.output

        frozen.thaw()
        # Each late try writes, or is refused, or hears first that nobody waits for it any more.
        for trip in trips:
            ended = functools.partial(has_ended, frozen, trip)
            wait_until(ended, f"the late try of {trip} has ended")
        assert frozen.stop() == 0
        for trip in (rolled_back, cancelled):
            assert f"{trip} - Booked hotel" not in frozen.output
        assert [sleepy.reserved(trip) for trip in trips] == [ITEMS, {}, {}]
        assert len(sleepy.rows()) == len(KINDS) + len(KINDS) + 2
