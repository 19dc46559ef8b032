"""People test their code with a client that is a mock: `create_app` takes it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, create_autospec

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from settings import Settings
from shared import TASK_QUEUE_NAME, BookVacationInput
from starter import create_app
from tests.api.api_client import JOHN, Api, assert_problem, body_of, listed

MOCKS: dict[str, Any] = {
    "a mock": MagicMock(),
    "a client by its signatures": create_autospec(Client, instance=True),
    "an object": SimpleNamespace(),
}


@pytest.fixture
def of_mock(own_database: str) -> Callable[[AsyncMock], Api]:
    """Return a caller of the API of a mock, which waits as long as the API does by default."""
    return lambda mock: Api(create_app(mock, Settings()).test_client())


async def test_a_mock_whose_methods_can_be_awaited_needs_nothing_else(
    of_mock: Callable[[AsyncMock], Api], caplog: pytest.LogCaptureFixture
) -> None:
    api = of_mock(AsyncMock())
    assert (await api.book(JOHN)).status_code == 202
    assert_problem(await api.get("/readyz"), 503)
    assert caplog.records == []


@pytest.mark.parametrize("details", [b"", b"no status", None, MagicMock()], ids=type)
@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (RPCStatusCode.UNAVAILABLE, 503, "Temporal cannot be reached; try again."),
        (RPCStatusCode.NOT_FOUND, 404, "There is no such booking."),
        (RPCStatusCode.INVALID_ARGUMENT, 500, "Temporal refuses the request"),
    ],
)
async def test_a_failure_that_a_mock_makes_up_is_told_in_our_words(
    of_mock: Callable[[AsyncMock], Api],
    status: RPCStatusCode,
    details: Any,
    answer: int,
    told: str,
) -> None:
    mock = AsyncMock()
    mock.start_workflow.side_effect = RPCError("made up", status, details)
    response = await of_mock(mock).book(JOHN)
    assert_problem(response, answer)
    assert told in response.text


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
