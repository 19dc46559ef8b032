"""A wait ends with the trip, with the time, or with the one who waits."""

import asyncio
import time

import pytest
from temporalio.client import Client

from bookings import Bookings, Caller, waiting
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


async def test_who_has_not_gone_is_asked_again_until_the_time_is_up(
    asked: Bookings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GONE_INTERVAL", 0.05)
    questions = 0

    def gone() -> bool:
        nonlocal questions
        questions += 1
        return False

    await asked.book("asked-again", REQUEST, "shop", 0)
    assert await asked.outcome("asked-again", 0.5, gone) is None
    assert questions > 1
    await client.get_workflow_handle("asked-again").terminate()


async def test_a_process_that_is_about_to_stop_ends_every_wait(
    asked: Bookings, client: Client
) -> None:
    await asked.book("waits", REQUEST, "shop", 0)
    waits = {asyncio.create_task(asked.outcome("waits", 60)) for _ in range(2)}
    assert not (await asyncio.wait(waits, timeout=0.1))[0]
    asked.stop_waiting()
    async with asyncio.timeout(10):
        assert [await wait for wait in waits] == [None, None]
        assert await asked.outcome("waits", 60) is None
    await client.get_workflow_handle("waits").terminate()


async def test_a_wait_for_what_does_not_exist_is_over_at_once(asked: Bookings) -> None:
    async with asyncio.timeout(5):
        assert await asked.outcome("nobody", 60) is None
