"""Who looks again and again is told of every change; while there is none, no worker is asked."""

import asyncio

import pytest
from temporalio.client import Client

from bookings import BookingNotFound, Bookings, Caller, Sight, watching
from record import Record
from shared import Kind, StepProgress, TripProgress
from tests.api.api_client import JOHN, Api, api_of
from tests.bookings.between import Before, client_with
from tests.bookings.test_bookings import start, start_stuck
from tests.conftest import IMPATIENT
from tests.faults import Call, FaultyRecord, Gate, down, faulty_worker
from tests.trips import delete

ANYONE = Caller("anyone", operator=True)


class Watcher:
    """Looks at one trip again and again, and counts the questions to a worker."""

    def __init__(self, client: Client, record: Record, user_id: str) -> None:
        self.queries = 0
        self.between = Before(self._count)
        self._bookings = Bookings(client_with(client, self.between), record, IMPATIENT)
        self._user_id = user_id

    async def _count(self) -> None:
        self.queries += 1

    async def look(self) -> Sight:
        return await self._bookings.look(self._user_id, ANYONE)

    async def look_again(self, seen: Sight, caller: Caller = ANYONE) -> Sight | None:
        return await self._bookings.look_again(self._user_id, caller, seen.mark)

    async def change(self, seen: Sight) -> Sight:
        """Look again until there is something new."""
        async with asyncio.timeout(20):
            while (new := await self.look_again(seen)) is None:
                await asyncio.sleep(0.02)
        return new

    async def until(self, seen: Sight, status: str) -> Sight:
        """Look again until the trip has a status."""
        while (seen := await self.change(seen)).trip.status != status:
            pass
        return seen

    async def settled(self, seen: Sight) -> Sight:
        """Look again until there is nothing new: what changes during a look is new to the next."""
        async with asyncio.timeout(20):
            while (new := await self.look_again(seen)) is not None:
                seen = new
        return seen


def step_of(sight: Sight, kind: Kind) -> StepProgress:
    return next(step for step in sight.trip.steps if step.kind == kind)


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


async def id_of_started(api: Api) -> str:
    return (await start(api)).rpartition("/")[2]


async def test_while_nothing_changes_no_worker_is_asked(
    api: Api, client: Client, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    watcher = Watcher(client, record, await id_of_started(api))
    await gate.reached()
    seen = await watcher.settled(await watcher.look())
    assert step_of(seen, "hotel").state == "booking"
    asked = watcher.queries
    assert [await watcher.look_again(seen) for _ in range(3)] == [None] * 3
    assert watcher.queries == asked
    await gate.open()
    seen = await watcher.until(seen, "booked")
    assert (await watcher.settled(seen)).trip.status == "booked"


async def test_while_its_workflow_runs_the_record_is_not_asked_again(
    api: Api, client: Client, faults: FaultyRecord, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    user_id = await id_of_started(api)
    watcher = Watcher(client, record, user_id)
    await gate.reached()
    seen = await watcher.settled(await watcher.look())
    with monkeypatch.context() as without_record:
        without_record.setattr(record, "trip", None)
        assert await watcher.look_again(seen) is None
    with pytest.raises(BookingNotFound):
        await watcher.look_again(seen, Caller("another", operator=False))
    await gate.open()
    seen = await watcher.settled(await watcher.until(seen, "booked"))
    # What was kept of it while it ran is of no use any more.
    await api.call("POST", f"/bookings/{user_id}/cancel")
    await watcher.until(seen, "cancelled")


async def test_once_its_workflow_was_stopped_the_record_is_asked_again(
    api: Api, client: Client, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    user_id = await id_of_started(api)
    watcher = Watcher(client, record, user_id)
    await gate.reached()
    seen = await watcher.settled(await watcher.look())
    await client.get_workflow_handle(user_id).terminate()
    # The look itself tells the record of it, so this mark is older than the row.
    seen = await watcher.change(seen)
    assert seen.trip.status == "needs_attention"
    await gate.open()
    await api.call("POST", f"/bookings/{user_id}/cancel")
    await watcher.until(seen, "cancelled")


async def test_a_failed_try_is_a_change(
    client: Client, faults: FaultyRecord, record: Record
) -> None:
    tried, may_fail = asyncio.Event(), asyncio.Event()

    async def fail_when_told(call: Call) -> None:
        tried.set()
        await may_fail.wait()
        await down(call)

    faults.faults["reserve", "hotel"] = fail_when_told
    patient = api_of(client, retry_interval_seconds=60, retry_interval_cap_seconds=60)
    user_id = await id_of_started(patient)
    watcher = Watcher(client, record, user_id)
    await asyncio.wait_for(tried.wait(), 20)
    seen = await watcher.look()
    assert step_of(seen, "hotel").attempts == 1
    may_fail.set()
    # The history has no event of it.
    hotel = step_of(await watcher.change(seen), "hotel")
    assert (hotel.state, hotel.attempts, hotel.last_error) == ("booking", 2, "The record is down")
    await client.get_workflow_handle(user_id).terminate()


async def test_a_cancellation_is_a_change_to_a_booked_trip(
    api: Api, client: Client, faults: FaultyRecord, record: Record
) -> None:
    user_id = (await api.book(JOHN)).json["user_id"]  # type: ignore[index]
    watcher = Watcher(client, record, user_id)
    seen = await watcher.look()
    assert (seen.trip.status, await watcher.look_again(seen)) == ("booked", None)
    assert watcher.between.descriptions == 0, "Of a trip that is over the record is asked"
    faults.faults["cancel", "hotel"] = gate = Gate()
    cancelling = asyncio.create_task(api.call("POST", f"/bookings/{user_id}/cancel"))
    await gate.reached()
    seen = await watcher.change(seen)
    assert seen.trip.status == "running"
    await gate.open()
    await cancelling
    assert (await watcher.change(seen)).trip.status == "cancelled"


async def test_a_repair_is_a_change(
    api: Api, client: Client, faults: FaultyRecord, record: Record
) -> None:
    path = await start_stuck(api, faults)
    watcher = Watcher(client, record, path.rpartition("/")[2])
    seen = await watcher.settled(await watcher.look())
    assert seen.trip.status == "needs_attention"
    await api.call("POST", f"{path}/undo/hotel/resolve", json={"note": "By phone"})
    assert step_of(await watcher.change(seen), "hotel").state == "resolved"


async def test_without_a_worker_one_is_asked_again_after_a_while(
    api: Api, client: Client, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STALE_SECONDS", 10**9)
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        user_id = await id_of_started(api)
        await gate.reached()
    watcher = Watcher(client, record, user_id)
    seen = await watcher.settled(await watcher.look())
    assert seen.trip.stale
    asked = watcher.queries
    assert (await watcher.look_again(seen), watcher.queries) == (None, asked)
    monkeypatch.setattr(watching, "STALE_SECONDS", 10**8)
    assert await watcher.look_again(seen) is not None
    assert watcher.queries > asked
    await client.get_workflow_handle(user_id).terminate()


async def test_a_trip_that_is_forgotten_between_two_questions_is_looked_up(
    api: Api, client: Client, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    user_id = await id_of_started(api)
    await gate.reached()

    class Forgetful(Bookings):
        async def progress(self, workflow_id: str) -> TripProgress | None:
            await gate.open()
            await client.get_workflow_handle(workflow_id).result()
            await delete(client, workflow_id)
            return await super().progress(workflow_id)

    assert (await Forgetful(client, record, IMPATIENT).look_up(user_id, ANYONE)).status == "booked"
