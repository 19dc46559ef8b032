"""The HTTP API over the real bookings: a real Temporal server, a real record, a real worker."""

import asyncio

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of, listed, until
from tests.faults import FaultyRecord, refuse_for_good
from tests.workers import running_worker

DOOMED = JOHN | {"flight": "invalid-flight-id"}
NOTE = {"note": "Cancelled by phone."}


@pytest.fixture
def api(client: Client, record: Record) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


async def states_held(record: Record, path: str) -> set[str]:
    return {row.state for row in await record.reservations.of(path.rpartition("/")[2])}


async def test_a_trip_is_booked_looked_up_listed_and_cancelled(
    api: Api, client: Client, record: Record
) -> None:
    async with running_worker(client, record, hotel_outage_attempts=1):
        async with asyncio.timeout(10):
            while (await api.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        booked = body_of(await api.book(JOHN, Idempotency_Key='"once"'))
        assert body_of(await api.book(JOHN, Idempotency_Key="once")) == booked
        path = f"/bookings/{booked['user_id']}"
        found = body_of(await api.get(path))
        shown = [(step["kind"], step["state"], step["attempts"]) for step in found["steps"]]
        assert shown == [(kind, "booked", 2 if kind == "hotel" else 1) for kind in KINDS]
        assert found["steps"][1]["last_error"] == "Hotel service is down. Retrying..."
        assert all(step["booking_seconds"] >= 0 for step in found["steps"])
        assert found["reservations"] == {kind: JOHN[kind] for kind in KINDS}
        assert found["started_at"] < found["closed_at"]

        cancels = await asyncio.gather(*(api.call("POST", f"{path}/cancel") for _ in range(8)))
        cancelled, *others = [body_of(answer) for answer in cancels]
        assert all(other == cancelled for other in others)
        assert cancelled["status"] == "cancelled"
        assert cancelled["started_at"] == found["started_at"]
        assert body_of(await api.get(path)) == cancelled
        assert f"/cancellation%3A{booked['user_id']}" in cancelled["links"]["web_ui"]
        (row,) = await listed(api)
        assert row == {name: {**JOHN, **cancelled}[name] for name in row}
        # The key still tells how the booking went.
        assert body_of(await api.book(JOHN, Idempotency_Key="once")) == booked
    assert await states_held(record, path) == {"cancelled"}


@pytest.mark.usefixtures("worker")
async def test_a_trip_that_is_rolled_back_tells_why(api: Api, record: Record) -> None:
    outcome = body_of(await api.book(DOOMED))
    assert outcome["reason"] == "Invalid flight booking, rolling back!"
    path = f"/bookings/{outcome['user_id']}"
    found = body_of(await api.get(path))
    assert (found["status"], found["reason"]) == ("rolled_back", outcome["reason"])
    assert found["reservations"] == {}
    assert_problem(await api.call("POST", f"{path}/cancel"), 409)
    assert await states_held(record, path) == {"cancelled"}


async def test_an_operator_repairs_what_is_stuck(api: Api, faults: FaultyRecord) -> None:
    faults.faults["cancel", "car"] = faults.faults["cancel", "hotel"] = refuse_for_good
    path = body_of(await api.book(DOOMED, Prefer="respond-async"))["location"]
    await until(lambda: api.get(path), status="needs_attention")
    stuck = {"stuck"}
    async with asyncio.timeout(20):
        while {step["state"] for step in body_of(await api.get(path))["steps"][:2]} != stuck:
            await asyncio.sleep(0.02)
    assert_problem(await api.call("POST", f"{path}/undo/flight/resolve", json=NOTE), 409)
    for note in ("first", "second"):
        body_of(await api.call("POST", f"{path}/undo/hotel/resolve", json={"note": note}))
    half = body_of(await api.get(path))
    assert (half["status"], half["steps"][1]["note"]) == ("needs_attention", "first")
    del faults.faults["cancel", "car"]
    body_of(await api.call("POST", f"{path}/undo/car/retry"))
    ended = body_of(await api.get(f"{path}?wait=20"))
    assert [step["state"] for step in ended["steps"]] == ["undone", "resolved", "undone"]
    assert ended["status"] == "rolled_back"
    assert body_of(await api.call("POST", f"{path}/undo/car/retry")) == ended
