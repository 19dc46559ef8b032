"""An id that no trip can have is a 404 wherever it is asked for, whatever the database."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
from temporalio.client import Client

from bookings import Bookings
from record import Record
from shared import SagaPolicy
from tests.api.api_client import Api, assert_problem
from tests.api.stand_in import over

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
async def api(database_url: str) -> AsyncIterator[Api]:
    """The API over the real bookings, of which none may ask Temporal."""
    async with Record.open(database_url) as record:
        yield over(Bookings(cast(Client, object()), record, SagaPolicy()))


async def test_an_odd_id_is_a_404(api: Api) -> None:
    for user_id in ODD:
        for method, route in ROUTES:
            body = {"json": {"note": "Settled by phone."}} if route.endswith("resolve") else {}
            answer = await api.call(method, f"/bookings/{user_id}{route}", **body)
            assert_problem(answer, 404)
