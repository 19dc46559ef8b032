"""Temporal lets a namespace wait only so often: further waits learn from the record what they want.

They end as the others do, whatever becomes of the trip.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from bookings import Bookings, Caller, auditing, record_watch
from record import Record
from tests.api.api_client import JOHN
from tests.bookings.test_bookings import DOOMED
from tests.conftest import IMPATIENT, TEMPORAL_CLI
from tests.faults import Call, FaultyRecord, Gate, refuse_for_good
from tests.trips import eventually
from tests.workers import running_worker

OPERATOR = Caller("desk", operator=True)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_watch, "INTERVAL", 0.05)


@pytest.fixture
def asked(client: Client, record: Record) -> Bookings:
    """Bookings that may have no long poll at all."""
    asked = Bookings(client, record, IMPATIENT)
    asked.max_long_polls = 0
    return asked


async def test_no_more_waits_than_the_bound_ask_temporal(
    asked: Bookings, client: Client, record: Record
) -> None:
    asked.max_long_polls = 2
    names = [f"bounded-{number}" for number in range(6)]
    waits = [asyncio.create_task(asked.book(name, JOHN, "shop", 30)) for name in names]
    await eventually(lambda: at(len(asked._waits) == len(names)))
    assert asked.long_polls == 2
    async with running_worker(client, record):
        booked = await asyncio.gather(*waits)
    assert {trip.status for trip in booked} == {"booked"}
    await eventually(lambda: at(asked.long_polls == 0))


async def at(condition: bool) -> bool:
    return condition


@pytest.mark.usefixtures("worker")
async def test_every_ending_is_learnt_from_the_record(asked: Bookings) -> None:
    async with asyncio.timeout(20):
        assert (await asked.book("by-record", JOHN, "shop", 60)).status == "booked"
        assert (await asked.book("by-record-back", DOOMED, "shop", 60)).status == "rolled_back"
        assert (await asked.cancel("by-record", OPERATOR, 60)).status == "cancelled"


async def test_a_trip_that_is_stuck_ends_the_waits_that_it_ends_otherwise(
    asked: Bookings, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    async with asyncio.timeout(20):
        assert (await asked.book("stuck-by-record", DOOMED, "shop", 60)).status == "needs_attention"
    # Who looks a trip up waits for its end, not for an operator's work.
    patient = asyncio.create_task(asked.wait_for_end("stuck-by-record", "stuck-by-record", 30))
    assert not (await asyncio.wait({patient}, timeout=0.3))[0]
    await asked.resolve_undo("stuck-by-record", "hotel", "settled", OPERATOR)
    async with asyncio.timeout(20):
        await patient


async def test_a_stop_and_a_client_that_goes_end_them_too(asked: Bookings, client: Client) -> None:
    async with asyncio.timeout(20):
        await asked.book("left-by-record", JOHN, "shop", 60, lambda: True)
    wait = asyncio.create_task(asked.wait_for_end("left-by-record", "left-by-record", 60))
    await eventually(lambda: at(bool(asked._waits)))
    asked.stop_waiting()
    async with asyncio.timeout(5):
        await wait
    await client.get_workflow_handle("left-by-record").terminate()


async def test_a_trip_that_was_stopped_from_outside_is_found_out_by_the_audit(
    asked: Bookings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "SETTLED", dt.timedelta(0))
    wait = asyncio.create_task(asked.book("stopped-unseen", JOHN, "shop", 60))
    await eventually(lambda: at(bool(asked._waits)))
    await client.get_workflow_handle("stopped-unseen").terminate()

    async def audited() -> bool:
        await asked.audit()
        return wait.done()

    await eventually(audited)
    assert (await wait).status == "needs_attention"


async def test_a_trip_that_was_stopped_from_outside_is_told_rightly_when_the_time_is_up(
    asked: Bookings, client: Client
) -> None:
    wait = asyncio.create_task(asked.book("stopped-in-time", JOHN, "shop", 1))
    await eventually(lambda: at(bool(asked._waits)))
    await client.get_workflow_handle("stopped-in-time").terminate()
    assert (await wait).status == "needs_attention"


async def test_a_trip_whose_ending_is_recorded_is_over_while_its_workflow_still_closes(
    asked: Bookings, faults: FaultyRecord
) -> None:
    gate = Gate()

    async def told_and_held(call: Call) -> None:
        await call.write()
        if call.trip_id == "closing":
            await gate(call)

    faults.when_told = told_and_held
    async with asyncio.timeout(20):
        assert (await asked.book("closing", JOHN, "shop", 60)).status == "booked"
    assert (await asked.look_up("closing", OPERATOR)).status == "booked"
    await gate.open()
    assert (await asked.cancel("closing", OPERATOR, 30)).status == "cancelled"


async def test_a_wait_for_the_booking_is_over_though_its_cancellation_goes_on(
    asked: Bookings, faults: FaultyRecord
) -> None:
    assert (await asked.book("goes-back", JOHN, "shop", 30)).status == "booked"
    faults.faults["cancel", "hotel"] = gate = Gate()
    cancelling = asyncio.create_task(asked.cancel("goes-back", OPERATOR, 30))
    await gate.reached()
    async with asyncio.timeout(20):
        await asked.wait_for_end("goes-back", "goes-back", 60)
    assert not cancelling.done()
    await gate.open()
    assert (await cancelling).status == "cancelled"


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
async def test_whom_temporal_has_no_long_poll_for_learns_of_the_end_all_the_same(
    crowded: Client, record: Record
) -> None:
    asked = Bookings(crowded, record, IMPATIENT)
    names = [f"crowded-{number}" for number in range(30)]
    async with asyncio.timeout(50):
        waits = [asyncio.create_task(asked.book(name, JOHN, "shop", 40)) for name in names]
        await eventually(lambda: at(len(asked._waits) == len(names) and 0 < asked.long_polls <= 12))
        async with running_worker(crowded, record):
            booked = await asyncio.gather(*waits)
    assert {trip.status for trip in booked} == {"booked"}


async def test_what_goes_wrong_while_temporal_is_asked_is_the_waits_own_failure(
    asked: Bookings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(workflow_id: str) -> bool:
        raise ZeroDivisionError

    asked.max_long_polls = 1
    monkeypatch.setattr(asked, "_told_to_be_closed", broken)
    with contextlib.suppress(TimeoutError), pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(20):
            await asked.wait_for_end("any", "any", 60)
