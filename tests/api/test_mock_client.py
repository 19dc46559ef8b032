"""People test their code with a client that is a mock: `create_app` takes it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, create_autospec

import pytest
from temporalio.client import Client

from settings import Settings
from shared import TASK_QUEUE_NAME, BookVacationInput
from starter import create_app
from tests.api.api_client import JOHN, Api, body_of

MOCKS: dict[str, Any] = {
    "a mock": MagicMock(),
    "an async mock": AsyncMock(),
    "a mock of a client": MagicMock(spec=Client),
    "an async mock of a client": AsyncMock(spec=Client),
    "a client by its signatures": create_autospec(Client, instance=True),
    "an object": SimpleNamespace(start_workflow=AsyncMock()),
}


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("name", MOCKS)
def test_an_app_is_made_with_any_object_that_stands_for_a_client(name: str) -> None:
    http = create_app(cast(Client, MOCKS[name])).test_client()
    assert http.get("/livez").status_code == 200
    assert http.get("/openapi.json").status_code == 200
    assert http.get("/bookings").json == {"bookings": [], "next_cursor": None}


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("name", MOCKS)
async def test_a_mock_books_and_the_trip_goes_on(name: str) -> None:
    client = MOCKS[name]
    client.start_workflow = start = AsyncMock()
    api = Api(create_app(client, Settings(book_wait_seconds=0.1)).test_client())
    async with asyncio.timeout(20):
        response = await api.book(JOHN)
    assert (response.status_code, body_of(response)["status"]) == (202, "running")
    user_id = body_of(response)["user_id"]
    (call,) = start.await_args_list
    workflow, book_input = call.args
    assert (workflow, call.kwargs["id"]) == ("BookingWorkflow", user_id)
    assert call.kwargs["task_queue"] == TASK_QUEUE_NAME
    assert isinstance(book_input, BookVacationInput)
    assert book_input.book_user_id == user_id
    assert book_input.request == JOHN
