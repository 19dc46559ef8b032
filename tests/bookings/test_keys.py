"""What a key answers: the outcome as soon as there is one, else the trip's real status."""

import asyncio
import time

import pytest
from temporalio.client import Client

from shared import cancellation_id
from tests.api.api_client import JOHN, Api, api_of, body_of, until
from tests.bookings.test_bookings import DOOMED, NOTE
from tests.faults import FaultyRecord, Gate, refuse_for_good


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


@pytest.mark.parametrize("body", [JOHN, DOOMED], ids=["booked", "rolled back"])
async def test_what_is_over_answers_with_its_outcome_even_to_who_does_not_wait(
    api: Api, faults: FaultyRecord, body: dict[str, object]
) -> None:
    key = f"over-{body['flight']}"
    first = body_of(await api.book(body, Idempotency_Key=key))
    again = await api.book(body, Idempotency_Key=key, Prefer="respond-async")
    assert (again.status_code, again.json) == (200, first)
    assert "Preference-Applied" not in again.headers


async def test_what_goes_on_answers_with_its_status_to_who_does_not_wait(
    api: Api, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = gate = Gate()
    headers = {"Idempotency_Key": "goes-on", "Prefer": "respond-async"}
    first = body_of(await api.book(DOOMED, **headers))
    await gate.reached()
    assert body_of(await api.book(DOOMED, **headers)) == first
    faults.faults["cancel", "hotel"] = refuse_for_good
    await gate.open()
    path = first["location"]
    assert body_of(await api.get(f"{path}?wait=20"))["status"] == "rolled_back"


async def test_a_stuck_undo_ends_the_wait(client: Client, faults: FaultyRecord) -> None:
    api = api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600, book_wait_seconds=60)
    faults.faults["cancel", "hotel"] = refuse_for_good
    began = time.monotonic()
    response = await api.book(DOOMED, Idempotency_Key="stuck")
    assert time.monotonic() - began < 20
    assert (response.status_code, body_of(response)["status"]) == (202, "needs_attention")
    path = response.headers["Location"]
    again = await api.book(DOOMED, Idempotency_Key="stuck", Prefer="respond-async")
    assert (again.status_code, body_of(again)["status"]) == (202, "needs_attention")
    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    rolled_back = body_of(await api.book(DOOMED, Idempotency_Key="stuck"))
    assert rolled_back["reason"] == "Invalid flight booking, rolling back!"


async def test_a_trip_that_was_stopped_and_then_cancelled_answers_that_it_was(
    api: Api, faults: FaultyRecord, client: Client
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    headers = {"Idempotency_Key": "stopped-and-cancelled", "Prefer": "respond-async"}
    started = body_of(await api.book(JOHN, **headers))
    path, user_id = started["location"], started["user_id"]
    await gate.reached()
    await client.get_workflow_handle(user_id).terminate()
    await gate.open()
    stopped = await api.book(JOHN, Idempotency_Key="stopped-and-cancelled")
    assert (stopped.status_code, body_of(stopped)["status"]) == (202, "needs_attention")

    faults.faults["cancel", "hotel"] = refuse_for_good
    cancelling = await api.call("POST", f"{path}/cancel")
    assert (cancelling.status_code, body_of(cancelling)["status"]) == (202, "needs_attention")
    stuck = await api.book(JOHN, Idempotency_Key="stopped-and-cancelled")
    assert (stuck.status_code, body_of(stuck)["status"]) == (202, "needs_attention")

    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    assert body_of(await api.get(f"{path}?wait=20"))["status"] == "cancelled"
    outcome = {
        "cancelled": True,
        "user_id": user_id,
        "result": "Voyage cancelled",
        "reason": "Cancelled on request",
    }
    for preference in ({}, {"Prefer": "respond-async"}):
        again = await api.book(JOHN, Idempotency_Key="stopped-and-cancelled", **preference)
        assert (again.status_code, again.json) == (200, outcome)


async def test_a_trip_whose_cancellation_was_stopped_needs_attention(
    api: Api, faults: FaultyRecord, client: Client
) -> None:
    faults.faults["reserve", "car"] = gate = Gate()
    faults.faults["cancel", "car"] = refuse_for_good
    headers = {"Idempotency_Key": "both-stopped", "Prefer": "respond-async"}
    started = body_of(await api.book(JOHN, **headers))
    await gate.reached()
    await client.get_workflow_handle(started["user_id"]).terminate()
    cancelling = asyncio.create_task(api.call("POST", f"{started['location']}/cancel"))
    await until(lambda: api.get(started["location"]), status="needs_attention", closed_at=None)
    await client.get_workflow_handle(cancellation_id(started["user_id"])).terminate()
    await cancelling
    again = await api.book(JOHN, Idempotency_Key="both-stopped")
    assert (again.status_code, body_of(again)["status"]) == (202, "needs_attention")
    await gate.open()
