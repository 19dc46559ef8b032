"""Temporal lets a namespace wait only so often: further waits learn from the record what they want.

They end as the others do, whatever becomes of the trip.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from bookings import Bookings
from record import Record
from tests.bookings.requests import DESK, DOOMED, JOHN, SHOP, new_id, stuck
from tests.conftest import IMPATIENT, TEMPORAL_CLI
from tests.faults import DEADLINE, Call, FaultyRecord, Gate
from tests.trips import eventually
from tests.workers import running_worker


@pytest.fixture
def by_record(asked: Bookings) -> Bookings:
    """Bookings that may have no long poll at all."""
    asked.waits.max_long_polls = 0
    return asked


async def so_many_wait(asked: Bookings, waits: int, polls: range) -> None:
    async def do() -> bool:
        return len(asked.waits._waits) == waits and asked.waits.long_polls in polls

    await eventually(do)


async def test_no_more_waits_than_the_bound_ask_temporal(asked: Bookings, client: Client) -> None:
    asked.waits.max_long_polls = 2
    waits = [asyncio.create_task(asked.book(new_id(), JOHN, SHOP.name, 60)) for _ in range(6)]
    await so_many_wait(asked, 6, range(2, 3))
    async with running_worker(client, asked._record):
        booked = await asyncio.gather(*waits)
    assert {trip.status for trip in booked} == {"booked"}
    await so_many_wait(asked, 0, range(1))


async def test_every_ending_is_learnt_from_the_record(by_record: Bookings, worker: None) -> None:
    async with asyncio.timeout(DEADLINE):
        booked = await by_record.book(new_id(), JOHN, SHOP.name, 600)
        assert booked.status == "booked"
        assert (await by_record.book(new_id(), DOOMED, SHOP.name, 600)).status == "rolled_back"
        assert (await by_record.cancel(booked.user_id, DESK, 600)).status == "cancelled"


async def test_a_look_up_waits_for_the_end_of_a_stuck_trip(
    by_record: Bookings, faults: FaultyRecord
) -> None:
    user_id = await stuck(by_record, faults)
    patient = asyncio.create_task(by_record.look_up_after(user_id, DESK, 600))
    assert not (await asyncio.wait({patient}, timeout=0.3))[0]
    await by_record.resolve_undo(user_id, "hotel", "settled", DESK)
    async with asyncio.timeout(DEADLINE):
        assert (await patient).status == "rolled_back"


async def test_a_trip_whose_ending_is_recorded_is_over_while_its_workflow_still_closes(
    by_record: Bookings, faults: FaultyRecord
) -> None:
    gate, user_id = Gate(), new_id()

    async def told_and_held(call: Call) -> None:
        await call.write()
        if call.trip_id == user_id:
            await gate(call)

    faults.when_told = told_and_held
    async with asyncio.timeout(DEADLINE):
        assert (await by_record.book(user_id, JOHN, SHOP.name, 600)).status == "booked"
    faults.when_told = lambda call: call.write()
    async with asyncio.timeout(DEADLINE):
        assert (await by_record.cancel(user_id, DESK, 600)).status == "cancelled"
    await gate.open()


@pytest.fixture
async def crowded(record: Record) -> AsyncIterator[Client]:
    """The client of a Temporal that lets a namespace have twelve long polls of a kind."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL_CLI),
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", "frontend.namespaceCount=12"],
    ) as started:
        yield started.client


@pytest.mark.slow
async def test_a_wait_for_which_temporal_has_no_long_poll_ends_all_the_same(
    crowded: Client, record: Record
) -> None:
    asked = Bookings(crowded, record, IMPATIENT)
    async with asyncio.timeout(60):
        waits = [asyncio.create_task(asked.book(new_id(), JOHN, SHOP.name, 50)) for _ in range(30)]
        await so_many_wait(asked, 30, range(1, 13))
        async with running_worker(crowded, record):
            booked = await asyncio.gather(*waits)
    assert {trip.status for trip in booked} == {"booked"}
