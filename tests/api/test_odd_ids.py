"""An id that no trip can have is a 404 wherever it is asked for, whatever the database."""

import pytest
from temporalio.client import Client

from shared import cancellation_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of

ROUTES = [
    ("GET", ""),
    ("GET", "?wait=1"),
    ("POST", "/cancel"),
    ("POST", "/undo/car/retry"),
    ("POST", "/undo/car/resolve"),
]

ODD = {
    "NUL": "%00",
    "NUL within": "a%00b",
    "long": "x" * 1_001,
    "very long": "x" * 15_000,
    "long, with NUL": "x" * 5_000 + "%00",
    "long in bytes": "%F0%9F%A7%B3" * 251,
    "emoji": "%F0%9F%A7%B3",
    "no UTF-8": "%FF%FE",
    "half a character": "%ED%A0%BE",
    "a path": "..%2F..%2Fetc%2Fpasswd",
    "SQL": "'%20OR%20'1'%3D'1",
    "a wildcard": "%25",
    "a blank": "%20",
    "a line": "a%0D%0Ab",
}


async def ask(api: Api, method: str, path: str) -> None:
    """Ask for what is not there."""
    body = {"json": {"note": "Settled by phone."}} if path.endswith("resolve") else {}
    assert_problem(await api.call(method, path, **body), 404)


@pytest.mark.parametrize("user_id", ODD.values(), ids=[*ODD])
async def test_an_odd_id_is_a_404(client: Client, database_url: str, user_id: str) -> None:
    api = api_of(client, database_url=database_url)
    for method, route in ROUTES:
        await ask(api, method, f"/bookings/{user_id}{route}")


@pytest.mark.usefixtures("worker")
async def test_the_workflow_that_cancels_a_trip_is_none_itself(client: Client) -> None:
    api = api_of(client)
    user_id = body_of(await api.book(JOHN))["user_id"]
    body_of(await api.call("POST", f"/bookings/{user_id}/cancel"))
    for method, route in ROUTES:
        await ask(api, method, f"/bookings/{cancellation_id(user_id).replace(':', '%3A')}{route}")
