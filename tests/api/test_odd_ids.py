"""Trips of any id can be opened and cancelled by their links. An id that no trip can have is a
404 wherever it is asked for, whatever the database."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
from temporalio.client import Client

from bookings import Bookings
from record import Record
from shared import SagaPolicy
from tests.api.api_client import Api, assert_problem, body_of, listed
from tests.api.stand_in import ODD_IDS, StandIn, over

ROUTES = [
    ("GET", ""),
    ("GET", "?wait=1"),
    ("POST", "/cancel"),
    ("POST", "/undo/car/retry"),
    ("POST", "/undo/car/resolve"),
]

ODD = [
    *("%00", "a%00b", "x" * 15_000, "x" * 5_000 + "%00", "%F0%9F%A7%B3" * 251),
    *("%FF%FE", "%ED%A0%BE", "..%2F..%2Fetc%2Fpasswd", "'%20OR%20'1'%3D'1", "%25", "%20"),
    *("a%0D%0Ab", "cancellation%3Asome-trip"),
]


@pytest.fixture
async def without_trips(database_url: str) -> AsyncIterator[Api]:
    """The API over the real bookings, of which none may ask Temporal."""
    async with Record.open(database_url) as record:
        yield over(Bookings(cast(Client, object()), record, SagaPolicy()))


async def test_an_odd_id_is_a_404(without_trips: Api) -> None:
    for user_id in ODD:
        for method, route in ROUTES:
            body = {"json": {"note": "Settled by phone."}} if route.endswith("resolve") else {}
            answer = await without_trips.call(method, f"/bookings/{user_id}{route}", **body)
            assert_problem(answer, 404)


async def test_every_trip_can_be_opened_and_cancelled_by_its_link(
    api: Api, bookings: StandIn
) -> None:
    for user_id in ODD_IDS:
        bookings.add("booked", trip_id=user_id)
    rows = await listed(api)
    assert {row["user_id"] for row in rows} == set(ODD_IDS)
    for row in rows:
        link = row["links"]["self"]
        assert body_of(await api.get(link))["user_id"] == row["user_id"]
        assert_problem(await api.call("POST", f"{link}/undo/car/retry"), 409)
        answer = body_of(await api.call("POST", f"{link}/cancel"))
        assert (answer["user_id"], answer["status"]) == (row["user_id"], "cancelled")
    # As a proxy hands it on that decodes paths.
    assert body_of(await api.get("/bookings/a/b"))["user_id"] == "a/b"
