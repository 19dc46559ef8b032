"""A cancel that does not wait is taken all the same."""

import contextlib

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from bookings import BookingNotFound, Bookings, Caller
from record import Record
from shared import KINDS, TASK_QUEUE_NAME
from tests.api.api_client import JOHN
from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate
from tests.trips import eventually, result_of, start
from workflows import BookingWorkflow

OPERATOR = Caller("desk", operator=True)


@pytest.fixture
def asked(client: Client, record: Record) -> Bookings:
    return Bookings(client, record, IMPATIENT)


async def until_cancelled(asked: Bookings, user_id: str) -> None:
    async def cancelled() -> bool:
        found = await asked.look_up(user_id, OPERATOR)
        return found.status == "cancelled" and found.closed_at is not None

    await eventually(cancelled)


async def test_a_running_trip_is_undone(
    asked: Bookings, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    faults.faults["cancel", "car"] = undo = Gate()
    await asked.book("cancelled-running", JOHN, "shop", 0)
    await gate.reached()
    found = await asked.cancel("cancelled-running", OPERATOR, 0)
    assert (found.status, found.closed_at) == ("running", None)
    await gate.open()
    await undo.open()
    await until_cancelled(asked, "cancelled-running")
    assert {row.state for row in await record.reservations_of("cancelled-running")} == {"cancelled"}


async def test_a_booked_trip_is_undone(
    asked: Bookings, faults: FaultyRecord, record: Record
) -> None:
    await asked.book("cancelled-booked", JOHN, "shop", 30)
    faults.faults["cancel", KINDS[-1]] = gate = Gate()
    found = await asked.cancel("cancelled-booked", OPERATOR, 0)
    assert (found.status, found.closed_at) == ("running", None)
    assert [step.kind for step in found.steps if step.held] == list(KINDS)
    await gate.reached()
    await gate.open()
    await until_cancelled(asked, "cancelled-booked")
    assert {row.state for row in await record.reservations_of("cancelled-booked")} == {"cancelled"}


async def test_a_trip_that_is_booked_before_the_cancel_reaches_it_is_undone_when_asked_again(
    asked: Bookings, faults: FaultyRecord
) -> None:
    await asked.book("cancelled-late", JOHN, "shop", 30)
    first, second = [await asked.cancel("cancelled-late", OPERATOR, 0) for _ in range(2)]
    assert first.workflow_id == second.workflow_id != "cancelled-late"
    await until_cancelled(asked, "cancelled-late")


async def test_a_trip_that_the_api_has_not_started_is_undone(
    asked: Bookings, faults: FaultyRecord, client: Client, record: Record
) -> None:
    started = await start(client, trip())
    await result_of(started)
    assert (await asked.cancel(started.id, OPERATOR, 30)).status == "cancelled"
    assert {row.state for row in await record.reservations_of(started.id)} == {"cancelled"}


async def test_a_trip_whose_starter_named_no_owner_that_is_a_text_is_undone_all_the_same(
    asked: Bookings, faults: FaultyRecord, client: Client
) -> None:
    unowned = trip()
    started = await client.start_workflow(
        BookingWorkflow.run,
        unowned,
        id=unowned.book_user_id,
        task_queue=TASK_QUEUE_NAME,
        memo={"owner": 5},
    )
    await started.result()
    assert (await asked.cancel(started.id, OPERATOR, 30)).status == "cancelled"


async def test_a_workflow_of_which_nothing_can_be_read_is_no_trip(
    asked: Bookings, client: Client
) -> None:
    started = await client.start_workflow(
        BookingWorkflow.__name__, "nonsense", id="unreadable", task_queue="nobody-polls-this"
    )
    for _ in range(2):  # Running, then stopped.
        with pytest.raises(BookingNotFound):
            await asked.look_up(started.id, OPERATOR)
        with pytest.raises(BookingNotFound):
            await asked.cancel(started.id, OPERATOR, 0)
        with pytest.raises(BookingNotFound):
            await asked.retry_undo(started.id, "car", OPERATOR)
        with contextlib.suppress(RPCError):
            await started.terminate()
