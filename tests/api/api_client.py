"""A caller of the API, and what its tests have in common."""

import asyncio
from typing import Any

from flask.testing import FlaskClient
from temporalio.client import Client
from werkzeug.test import TestResponse

from settings import Settings
from shared import KINDS
from starter import create_app

JOHN: dict[str, Any] = {
    "name": "John Doe",
    "attempts": 5,
    **{str(kind): f"valid-{kind}-id" for kind in KINDS},
}
JSON = {"Content-Type": "application/json"}


class Api:
    """A caller of the API. Flask's test client blocks, so each call runs in a thread."""

    def __init__(self, http: FlaskClient) -> None:
        self._http = http

    async def call(self, method: str, path: str, **arguments: Any) -> TestResponse:
        return await asyncio.to_thread(
            self._http.open, path, method=method, buffered=True, **arguments
        )

    async def get(self, path: str, **arguments: Any) -> TestResponse:
        return await self.call("GET", path, **arguments)

    async def book(self, body: dict[str, Any], **headers: str) -> TestResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", "/book", json=body, headers=names)

    async def book_raw(self, body: bytes, headers: dict[str, str] = JSON) -> TestResponse:
        return await self.call("POST", "/book", data=body, headers=headers)


def api_of(client: Client, **settings: Any) -> Api:
    impatient = {"book_wait_seconds": 30, "retry_interval_seconds": 0.01}
    return Api(create_app(client, Settings(**impatient | settings)).test_client())


def assert_problem(response: TestResponse, status: int, *fields: str) -> None:
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert response.json["status"] == status
    assert response.json["type"] and response.json["title"] and response.json["detail"]
    assert [error["field"] for error in response.json.get("errors", [])] == list(fields)


def body_of(response: TestResponse) -> dict[str, Any]:
    """Return the JSON object that the API answered with success."""
    assert response.status_code < 400, response.text
    assert isinstance(response.json, dict)
    return response.json


async def listed(
    api: Api, headers: dict[str, str] | None = None, **parameters: object
) -> list[dict[str, Any]]:
    """Return the bookings on all pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, object] = {}
    while True:
        query = {"limit": 100} | parameters | cursor
        page = body_of(await api.get("/bookings", query_string=query, headers=headers))
        found += page["bookings"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}
