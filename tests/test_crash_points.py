"""A process dies between two memories: the trip ends right all the same, and once.

Real processes, each of which dies at the moment that `tests/dying.py` names.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared import KINDS
from tests.api.api_client import JOHN
from tests.processes import Service, free_port, service, wait_until

pytestmark = pytest.mark.slow  # Each starts a service, and some wait for a workflow task's timeout.

KEY = {"Idempotency-Key": "lisbon"}
BOOKED = [f"{kind.capitalize()}: {JOHN[kind]}" for kind in KINDS]
ALL = {kind: JOHN[kind] for kind in KINDS}


@pytest.fixture
def trips() -> Iterator[Service]:
    """A service without a worker."""
    with service() as started:
        started.temporal.start()
        started.api.start()
        wait_until(lambda: started.status_of("/bookings") == 200, "the API answers")
        yield started


@contextmanager
def dying_api(trips: Service, moment: str) -> Iterator[int]:
    """Yield the port of a further API process that dies at the moment."""
    port = free_port()
    api = trips.python("dying-api", "tests/dying.py", DIE_AT=moment, PORT=str(port))
    api.start()

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return trips.request("GET", "/livez", port=port).status == 200
        return False

    wait_until(answers, "the dying API answers")
    yield port
    assert api.exit_code() == 9


def dies_in(trips: Service, port: int, method: str, path: str, **more: Any) -> None:
    with pytest.raises(OSError):
        trips.request(method, path, port=port, **more)


def dying_worker(trips: Service, moment: str) -> None:
    """Begin a trip whose worker dies at the moment."""
    worker = trips.python("dying-worker", "tests/dying.py", DIE_AT=moment)
    worker.start()
    trips.request("POST", "/book", JOHN, KEY | {"Prefer": "respond-async"})
    assert worker.exit_code() == 9


def only_trip(trips: Service) -> dict[str, Any]:
    """Return the only trip there is, as its look-up shows it."""
    (listed,) = trips.request("GET", "/bookings").body["bookings"]
    found: dict[str, Any] = trips.request("GET", f"/bookings/{listed['user_id']}").body
    return found


def until_status(trips: Service, status: str) -> dict[str, Any]:
    wait_until(lambda: only_trip(trips)["status"] == status, f"the trip is {status}")
    return only_trip(trips)


def book_again(trips: Service) -> dict[str, Any]:
    answer = trips.request("POST", "/book", JOHN, KEY)
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


@pytest.mark.parametrize("moment", ["accepted", "started"])
def test_a_key_finds_the_trip_of_an_api_that_died(trips: Service, moment: str) -> None:
    with dying_api(trips, moment) as port:
        dies_in(trips, port, "POST", "/book", body=JOHN, headers=KEY)
    assert only_trip(trips)["status"] == "running"
    trips.workers[0].start()
    again = book_again(trips)
    assert [again[kind] for kind in KINDS] == BOOKED
    assert only_trip(trips)["reservations"] == ALL
    assert trips.request("POST", "/book", JOHN | {"car": "another"}, KEY).status == 422


@pytest.mark.parametrize("moment", ["accepted", "started"])
def test_a_trip_of_an_api_that_died_can_be_cancelled(trips: Service, moment: str) -> None:
    with dying_api(trips, moment) as port:
        dies_in(trips, port, "POST", "/book", body=JOHN, headers=KEY)
    trips.workers[0].start()
    path = f"/bookings/{only_trip(trips)['user_id']}"
    assert trips.request("POST", f"{path}/cancel").status == 200
    assert only_trip(trips)["status"] == "cancelled"
    assert trips.rows() == [] or trips.reserved(only_trip(trips)["user_id"]) == {}
    # One that was started may have been booked before the order reached it; that was its outcome.
    if moment == "accepted":
        again = book_again(trips)
        assert (again["cancelled"], again["reason"]) == (True, "Cancelled on request")


@pytest.mark.parametrize("moment", ["ended", "recorded"])
def test_a_worker_that_dies_at_the_end_leaves_the_trip_booked(trips: Service, moment: str) -> None:
    dying_worker(trips, moment)
    assert only_trip(trips)["status"] == ("booked" if moment == "recorded" else "running")
    trips.workers[0].start()
    assert until_status(trips, "booked")["reservations"] == ALL
    assert [book_again(trips)[kind] for kind in KINDS] == BOOKED


@pytest.mark.parametrize("moment", ["reserved", "ended", "recorded"])
def test_a_trip_whose_worker_died_can_be_cancelled(trips: Service, moment: str) -> None:
    dying_worker(trips, moment)
    user_id = only_trip(trips)["user_id"]
    trips.workers[0].start()
    assert trips.request("POST", f"/bookings/{user_id}/cancel").status == 200
    assert until_status(trips, "cancelled")["reservations"] == {}
    assert trips.reserved(user_id) == {}
    # The key's outcome is what was recorded first; a trip that was never booked was cancelled.
    assert book_again(trips)["cancelled"] is (moment != "recorded")


def test_a_cancellation_that_was_accepted_is_begun_by_the_next_who_asks(trips: Service) -> None:
    trips.workers[0].start()
    book_again(trips)
    user_id = only_trip(trips)["user_id"]
    with dying_api(trips, "to be cancelled") as port:
        dies_in(trips, port, "POST", f"/bookings/{user_id}/cancel")
    assert only_trip(trips)["status"] == "running"
    assert trips.reserved(user_id) == ALL
    assert trips.request("POST", f"/bookings/{user_id}/cancel").status == 200
    assert only_trip(trips)["status"] == "cancelled"
    assert trips.reserved(user_id) == {}
