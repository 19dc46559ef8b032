"""The places for requests that wait: who needs one, and what becomes of who gets none."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from shared import keyed_user_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of


async def test_beyond_its_bound_the_process_asks_to_try_again(client: Client) -> None:
    api = api_of(client, max_open_bookings=2, book_wait_seconds=3)  # No worker: they wait.
    answers = await asyncio.gather(*(api.book(JOHN) for _ in range(8)))
    refused = [answer for answer in answers if answer.status_code == 429]
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert refused
    assert len(refused) + len(accepted) == 8
    for answer in refused:
        assert_problem(answer, 429)
        assert int(answer.headers["Retry-After"]) > 0
    accepted.append(await api.book(JOHN, Prefer="respond-async"))
    assert accepted[-1].status_code == 202, "The places were given back"
    for answer in accepted:
        await client.get_workflow_handle(body_of(answer)["user_id"]).terminate()


@pytest.fixture
async def full(client: Client) -> AsyncIterator[Api]:
    """The API with its one place taken, by a booking that no worker takes up."""
    api = api_of(client, max_open_bookings=1, book_wait_seconds=60)
    key = uuid.uuid4().hex
    trip = client.get_workflow_handle(keyed_user_id("anonymous", key))
    taking = asyncio.create_task(api.book(JOHN, Idempotency_Key=key))
    await until_there(trip)
    yield api
    await trip.terminate()
    await taking


async def until_there(trip: WorkflowHandle[Any, Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await trip.describe()
            except RPCError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_what_does_not_wait_needs_no_place(full: Api) -> None:
    assert_problem(await full.book(JOHN), 429)
    started = await full.book(JOHN, Prefer="respond-async")
    assert started.status_code == 202
    path = started.headers["Location"]
    assert body_of(await full.get(path))["status"] == "running"
    assert_problem(await full.get(f"{path}?wait=10"), 429)
    async with asyncio.timeout(20):
        cancelled = await full.call("POST", f"{path}/cancel")  # No worker: it is begun, no more.
    assert (cancelled.status_code, cancelled.headers["Location"]) == (202, path)
