"""The HTTP API over the real bookings: a real Temporal server, a real record, a real worker."""

import asyncio

from temporalio.client import Client

from record import Record
from shared import KINDS
from tests.api.api_client import JOHN, api_of, body_of, listed
from tests.workers import running_worker


async def test_a_trip_is_booked_looked_up_listed_and_cancelled(
    client: Client, record: Record
) -> None:
    api = api_of(client)
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

        cancelled = body_of(await api.call("POST", f"{path}/cancel"))
        assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
        assert body_of(await api.get(path)) == cancelled
        assert f"/cancellation%3A{booked['user_id']}" in cancelled["links"]["web_ui"]
        (row,) = await listed(api)
        assert row == {name: {**JOHN, **cancelled}[name] for name in row}
        # The key still tells how the booking went, and that this is not all.
        again = body_of(await api.book(JOHN, Idempotency_Key="once"))
        assert again == booked | {"cancelled_later": True}


async def test_a_step_that_never_was_booked_is_told_from_one_that_was_undone(
    client: Client, record: Record
) -> None:
    api = api_of(client)
    async with running_worker(client, record):
        rolled_back = body_of(await api.book(JOHN | {"hotel": "invalid-hotel-id"}))
    user_id = rolled_back["user_id"]
    steps = body_of(await api.get(f"/bookings/{user_id}"))["steps"]
    never = [(step["booking_seconds"], step["undo_seconds"]) == (None, None) for step in steps]
    untried = len(KINDS) - 2
    assert [step["state"] for step in steps] == ["undone", "undone", *["pending"] * untried]
    assert never == [False, True, *[True] * untried]
    assert steps[0]["undo_seconds"] >= 0
