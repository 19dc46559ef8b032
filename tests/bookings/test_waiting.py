"""A wait ends with the trip, with the time, or with the one who waits."""

import asyncio
import time

import pytest
from temporalio.client import Client

from bookings import Bookings, Caller
from tests.api.api_client import JOHN
from tests.conftest import IMPATIENT

OPERATOR = Caller("desk", operator=True)
REQUEST = {name: str(value) for name, value in JOHN.items()}


@pytest.fixture
def asked(client: Client) -> Bookings:
    return Bookings(client, IMPATIENT)


async def test_a_wait_ends_when_the_one_who_waits_has_gone(asked: Bookings, client: Client) -> None:
    left = time.monotonic() + 0.3

    def gone() -> bool:
        return time.monotonic() > left

    # Without a worker each look-up of the cancel takes its time.
    async with asyncio.timeout(30):
        assert await asked.book("has-gone", REQUEST, "shop", 60, gone) == "running"
        assert await asked.outcome("has-gone", 60, gone) is None
        assert (await asked.cancel("has-gone", OPERATOR, 60, gone)).status == "running"
    assert not asked._waits, "Nothing waits on"
    await client.get_workflow_handle("has-gone").terminate()


async def test_who_has_not_gone_gets_the_outcome(asked: Bookings, worker: None) -> None:
    assert await asked.book("stays", REQUEST, "shop", 0) == "running"
    outcome = await asked.outcome("stays", 30, lambda: False)
    assert outcome is not None and outcome.result is not None
    assert outcome.result["status"] == "success"


async def test_a_wait_for_what_does_not_exist_is_over_at_once(asked: Bookings) -> None:
    async with asyncio.timeout(5):
        assert await asked.outcome("nobody", 60) is None
