"""A wait ends with the trip, with the time, or with the one who waits."""

import asyncio
import time

import pytest
from temporalio.client import Client

from bookings import Bookings, Caller, waiting
from record import Record
from tests.api.api_client import JOHN
from tests.conftest import IMPATIENT

OPERATOR = Caller("desk", operator=True)


@pytest.fixture
def asked(client: Client, record: Record) -> Bookings:
    return Bookings(client, record, IMPATIENT)


async def test_a_wait_ends_when_the_one_who_waits_has_gone(asked: Bookings, client: Client) -> None:
    left = time.monotonic() + 0.3

    def gone() -> bool:
        return time.monotonic() > left

    # Without a worker each look-up of the cancel takes its time.
    async with asyncio.timeout(30):
        assert (await asked.book("has-gone", JOHN, "shop", 60, gone)).status == "running"
        await asked.wait_for_end("has-gone", "has-gone", 60, gone)
        assert (await asked.cancel("has-gone", OPERATOR, 60, gone)).status == "running"
    assert not asked._waits, "Nothing waits on"
    await client.get_workflow_handle("has-gone").terminate()


async def test_who_has_not_gone_gets_the_outcome(asked: Bookings, worker: None) -> None:
    assert (await asked.book("stays", JOHN, "shop", 0)).status == "running"
    assert (await asked.book("stays", JOHN, "shop", 30, lambda: False)).status == "booked"


async def test_who_has_not_gone_is_asked_again_until_the_time_is_up(
    asked: Bookings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GONE_INTERVAL", 0.05)
    questions = 0

    def gone() -> bool:
        nonlocal questions
        questions += 1
        return False

    await asked.book("asked-again", JOHN, "shop", 0)
    await asked.wait_for_end("asked-again", "asked-again", 0.5, gone)
    assert questions > 1
    await client.get_workflow_handle("asked-again").terminate()


async def test_a_process_that_is_about_to_stop_ends_every_wait(
    asked: Bookings, client: Client
) -> None:
    await asked.book("waits", JOHN, "shop", 0)
    waits = {asyncio.create_task(asked.wait_for_end("waits", "waits", 60)) for _ in range(2)}
    assert not (await asyncio.wait(waits, timeout=0.1))[0]
    asked.stop_waiting()
    async with asyncio.timeout(10):
        await asyncio.gather(*waits)
        await asked.wait_for_end("waits", "waits", 60)
    await client.get_workflow_handle("waits").terminate()


async def test_a_wait_for_what_does_not_exist_is_over_at_once(asked: Bookings) -> None:
    async with asyncio.timeout(5):
        await asked.wait_for_end("nobody", "nobody", 60)


async def test_a_wait_outlasts_a_temporal_that_was_never_there(
    record: Record, unused_tcp_port: int
) -> None:
    # So it is for an API that was started anew while Temporal is away.
    nobody = await Client.connect(f"127.0.0.1:{unused_tcp_port}", lazy=True)
    asked = Bookings(nobody, record, IMPATIENT)
    async with asyncio.timeout(10):
        await asked.wait_for_end("any", "any", 0.5)
