"""A workflow that an operator has paused: its status is newer than the SDK.

Server 1.30 and later can pause a workflow, where `frontend.WorkflowPauseEnabled` is set.
"""

from temporalio.client import Client

from bookings import Bookings
from shared import KINDS, cancellation_id
from tests.bookings.requests import JOHN, SHOP, ended, new_id, states
from tests.faults import FaultyRecord, Gate
from tests.trips import temporal


async def pause(client: Client, workflow_id: str) -> None:
    await temporal(client, "workflow", "pause", "--workflow-id", workflow_id)


async def unpause(client: Client, workflow_id: str) -> None:
    await temporal(client, "workflow", "unpause", "--workflow-id", workflow_id)


async def test_a_paused_trip_answers_and_can_be_cancelled(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    gate = faults.faults["reserve", "hotel"] = Gate()
    before = await asked.book(new_id(), JOHN, SHOP.name, 0, key="of-a-paused-trip")
    await gate.reached()
    await pause(client, before.trip_id)
    paused = await asked.look_up(before.trip_id, SHOP)
    assert (paused.status, states(paused)) == (
        "running",
        ["booked", "booking", *["pending"] * len(KINDS[2:])],
    )
    again = await asked.book(new_id(), JOHN, SHOP.name, 0.2, key="of-a-paused-trip")
    assert again.trip_id == before.trip_id
    assert (await asked.cancel(before.trip_id, SHOP, 0)).status == "running"
    await gate.open()
    await unpause(client, before.trip_id)
    assert (await ended(asked, before.trip_id)).status == "cancelled"


async def test_a_paused_cancellation_is_taken_again(
    asked: Bookings, client: Client, faults: FaultyRecord
) -> None:
    user_id = (await asked.book(new_id(), JOHN, SHOP.name, 60)).trip_id
    gate = faults.faults["cancel", "flight"] = Gate()
    await asked.cancel(user_id, SHOP, 0)
    await gate.reached()
    await pause(client, cancellation_id(user_id))
    assert (await asked.cancel(user_id, SHOP, 0)).status == "running"
    await gate.open()
    await unpause(client, cancellation_id(user_id))
    assert (await ended(asked, user_id)).status == "cancelled"
