"""The places for requests that wait: which requests need one, and what the others are told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.api.api_client import JOHN, Api, assert_problem, body_of
from tests.api.stand_in import StandIn, over


@pytest.fixture
async def full(bookings: StandIn) -> AsyncIterator[Api]:
    """The API with both of its places taken by bookings that go on."""
    bookings.becomes = "running"
    api = over(bookings, max_open_bookings=2)
    waiting = [asyncio.create_task(api.book(JOHN)) for _ in range(2)]
    async with asyncio.timeout(20):
        while bookings.waiting < len(waiting):
            await asyncio.sleep(0.005)
    yield api
    bookings.end_waits()
    for answer in await asyncio.gather(*waiting):
        assert answer.status_code == 202
    assert (await api.book(JOHN)).status_code == 202, "The places were given back"


async def test_beyond_its_bound_the_process_asks_to_try_again(full: Api) -> None:
    refused = await full.book(JOHN)
    assert_problem(refused, 429)
    assert int(refused.headers["Retry-After"]) > 0


async def test_what_does_not_wait_needs_no_place(full: Api) -> None:
    started = await full.book(JOHN, Prefer="respond-async")
    assert started.status_code == 202
    path = started.headers["Location"]
    assert body_of(await full.get(path))["status"] == "running"
    assert_problem(await full.get(f"{path}?wait=10"), 429)
    async with asyncio.timeout(20):
        cancelled = await full.call("POST", f"{path}/cancel")  # It is begun, no more.
    assert (cancelled.status_code, cancelled.headers["Location"]) == (202, path)
