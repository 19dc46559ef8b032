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
from tests.api.api_client import JOHN, Api, body_of, listed

MOCKS: dict[str, Any] = {
    "a mock": MagicMock(),
    "a client by its signatures": create_autospec(Client, instance=True),
    "an object": SimpleNamespace(),
}


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize("name", MOCKS)
async def test_a_mock_books_and_the_trip_goes_on(name: str) -> None:
    client = MOCKS[name]
    client.start_workflow = start = AsyncMock()
    api = Api(create_app(cast(Client, client), Settings(book_wait_seconds=0.1)).test_client())
    assert body_of(await api.get("/livez")) == {"status": "ok"}
    async with asyncio.timeout(20):
        response = await api.book(JOHN)
    assert (response.status_code, body_of(response)["status"]) == (202, "running")
    user_id = body_of(response)["user_id"]
    assert [row["user_id"] for row in await listed(api)] == [user_id]
    (call,) = start.await_args_list
    workflow, book_input = call.args
    assert (workflow, call.kwargs["id"]) == ("BookingWorkflow", user_id)
    assert call.kwargs["task_queue"] == TASK_QUEUE_NAME
    assert isinstance(book_input, BookVacationInput)
    assert (book_input.book_user_id, book_input.request) == (user_id, JOHN)
