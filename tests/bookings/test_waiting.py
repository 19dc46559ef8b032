"""A wait ends with the trip, with the time, or when the client that waits has gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from bookings import Bookings
from bookings.waiting import RecordWatch
from connection import lazy_client
from record import Record, RecordBroken, RecordedTrip, RecordUnavailable
from tests.bookings.requests import DESK, JOHN, SHOP, leave, new_id, new_trip, planted, stub, stuck
from tests.conftest import IMPATIENT, TEMPORAL_CLI
from tests.faults import DEADLINE, Call, FaultyRecord, Gate
from tests.trips import eventually
from tests.workers import running_worker


async def begun(asked: Bookings, record: Record) -> RecordedTrip:
    """Return the row of a trip that nobody works on."""
    trip = await asked.book(new_id(), JOHN, SHOP.name, 0)
    row = await record.trips.by_id(trip.trip_id)
    assert row is not None
    return row


@pytest.fixture(params=[0, 300], ids=["by the record", "by a long poll"])
def waits(asked: Bookings, request: pytest.FixtureRequest) -> Bookings:
    """Bookings that learn of an end in each of the two ways."""
    asked.waits.max_long_polls = request.param
    return asked


async def test_a_wait_ends_when_the_client_has_gone(waits: Bookings) -> None:
    user_id = new_id()
    async with asyncio.timeout(30):
        trip = await waits.book(user_id, JOHN, SHOP.name, 600, lambda: True)
        assert trip.status == "running"
        assert (
            await waits.look_up_after(await waits.look_up(user_id, DESK), 600, lambda: True)
        ).status == "running"
        assert (await waits.cancel(user_id, DESK, 600, lambda: True)).status == "running"
    assert not waits.waits._watch._waits, "Nothing waits on"


async def test_a_client_that_stays_gets_the_outcome(waits: Bookings, worker: None) -> None:
    user_id = new_id()
    assert (await waits.book(user_id, JOHN, SHOP.name, 0)).status == "running"
    assert (
        await waits.look_up_after(await waits.look_up(user_id, SHOP), 60, lambda: False)
    ).status == "booked"
    assert (await waits.book(user_id, JOHN, SHOP.name, 60, lambda: False)).status == "booked"
    assert (await waits.cancel(user_id, SHOP, 60, lambda: False)).status == "cancelled"


async def test_a_process_that_stops_ends_every_wait_and_begins_none(
    waits: Bookings, record: Record
) -> None:
    row = await begun(waits, record)
    begun_waits = {asyncio.create_task(waits.look_up_after(row, 600)) for _ in range(2)}
    assert not (await asyncio.wait(begun_waits, timeout=0.1))[0]
    waits.stop_waiting()
    async with asyncio.timeout(20):
        await asyncio.gather(*begun_waits)
        assert (await waits.look_up_after(row, 600)).status == "running"


async def test_a_wait_for_a_workflow_that_is_not_there_is_over_at_once(
    asked: Bookings, record: Record
) -> None:
    row = await begun(Bookings(stub(), record, IMPATIENT), record)
    async with asyncio.timeout(20):
        await asked.waits.until_closed(row, 600, None)


async def test_a_wait_outlasts_an_outage_of_temporal_and_the_record_tells_of_the_end(
    record: Record, unused_tcp_port: int
) -> None:
    row = await begun(Bookings(stub(), record, IMPATIENT), record)
    nobody = await lazy_client({"target_host": f"127.0.0.1:{unused_tcp_port}"})
    wait = asyncio.create_task(Bookings(nobody, record, IMPATIENT).look_up_after(row, 600))
    assert not (await asyncio.wait({wait}, timeout=0.3))[0]
    now = await record.trips.by_id(row.trip_id) or row
    await record.trips.found(now, "rolled_back", "for a test")
    async with asyncio.timeout(20):
        assert (await wait).status == "rolled_back"


async def test_a_wait_for_the_booking_is_over_though_its_cancellation_goes_on(
    record: Record,
) -> None:
    user_id = await planted(record, "running")
    row = await record.trips.by_id(user_id)
    assert row is not None
    wait = asyncio.create_task(
        Bookings(stub(), record, IMPATIENT).waits.until_closed(row, 600, None)
    )
    assert not (await asyncio.wait({wait}, timeout=0.2))[0]
    await leave(record, user_id, "booked")
    await record.trips.begin_cancellation(user_id)
    async with asyncio.timeout(20):
        await wait


# Temporal lets a namespace wait only so often: further waits learn from the record what they want


@pytest.fixture
def by_record(asked: Bookings) -> Bookings:
    """Bookings that may have no long poll at all."""
    asked.waits.max_long_polls = 0
    return asked


async def so_many_wait(asked: Bookings, waits: int, polls: range) -> None:
    async def do() -> bool:
        return len(asked.waits._watch._waits) == waits and asked.waits.long_polls in polls

    await eventually(do)


async def test_no_more_waits_than_the_bound_ask_temporal(asked: Bookings, client: Client) -> None:
    asked.waits.max_long_polls = 2
    waits = [asyncio.create_task(asked.book(new_id(), JOHN, SHOP.name, 60)) for _ in range(6)]
    await so_many_wait(asked, 6, range(2, 3))
    async with running_worker(client, asked._record):
        booked = await asyncio.gather(*waits)
    assert {trip.status for trip in booked} == {"booked"}
    await so_many_wait(asked, 0, range(1))


async def test_a_look_up_waits_for_the_end_of_a_stuck_trip(
    by_record: Bookings, faults: FaultyRecord
) -> None:
    user_id = await stuck(by_record, faults)
    patient = asyncio.create_task(
        by_record.look_up_after(await by_record.look_up(user_id, DESK), 600)
    )
    assert not (await asyncio.wait({patient}, timeout=0.3))[0]
    await by_record.repair(user_id, "hotel", DESK, "settled")
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


# What the record is asked


class Rows:
    """A record that tells of some trips, whatever it is asked about."""

    def __init__(self, *trip_ids: str) -> None:
        self.rows = [new_trip(trip_id) for trip_id in trip_ids]
        self.asked: list[set[str]] = []
        self.outages: list[Exception] = []

    async def not_just_running(self, trip_ids: Collection[str]) -> list[RecordedTrip]:
        if self.outages:
            raise self.outages.pop()
        self.asked.append(set(trip_ids))
        return [row for row in self.rows if row.trip_id in trip_ids]


def told(_: RecordedTrip) -> bool:
    return True


async def test_all_that_are_waited_for_are_asked_about_in_one_question() -> None:
    rows = Rows("trip-49")
    rows.outages = [RecordUnavailable("away"), RecordBroken("a bug")]
    watch = RecordWatch(rows.not_just_running)
    names = [f"trip-{number}" for number in range(50)]
    with contextlib.ExitStack() as stack:
        seen = {name: stack.enter_context(watch.watching(name, told)) for name in names}
        async with asyncio.timeout(20):
            await seen["trip-49"]
        assert rows.asked == [set(names)], "An outage ends no wait"
        assert [name for name in names if seen[name].done()] == ["trip-49"]
    await asyncio.sleep(0.2)
    assert len(rows.asked) == 1, "Nobody waits, nobody asks"
    with watch.watching("trip-1", told):
        pass
    with watch.watching("trip-49", told) as again:
        async with asyncio.timeout(20):
            await again


async def test_each_wait_of_a_trip_ends_when_it_says_so() -> None:
    rows = Rows("trip-1")
    watch = RecordWatch(rows.not_just_running)
    with (
        watch.watching("trip-1", lambda _: len(rows.asked) > 2) as patient,
        watch.watching("trip-1", told) as impatient,
    ):
        async with asyncio.timeout(20):
            await impatient
            assert not patient.done()
            await patient
    assert len(rows.asked) == 3
