"""Looking bookings up, cancelling and repairing them through the API."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from temporalio.client import Client

from record import Record
from shared import cancellation_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of, until
from tests.faults import FaultyRecord, Gate, faulty_worker, refuse_for_good

DOOMED = JOHN | {"flight": "invalid-flight-id"}
NOTE = {"note": "Cancelled by phone."}


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


async def start(api: Api, body: dict[str, Any] = JOHN) -> str:
    """Start a trip and return its path."""
    location: str = body_of(await api.book(body, Prefer="respond-async"))["location"]
    return location


async def start_stuck(api: Api, faults: FaultyRecord) -> str:
    """Return the path of a trip whose hotel cannot be undone."""
    faults.faults["cancel", "hotel"] = refuse_for_good
    path = await start(api, DOOMED)
    await until(lambda: api.get(path), status="needs_attention")
    return path


def state_of(booking: dict[str, Any], kind: str) -> str:
    return next(str(step["state"]) for step in booking["steps"] if step["kind"] == kind)


# Looking up


@pytest.mark.usefixtures("worker")
async def test_a_look_up_may_wait_for_the_end(api: Api) -> None:
    path = await start(api)
    assert body_of(await api.get(f"{path}?wait=30"))["status"] == "booked"
    assert body_of(await api.get(f"{path}?wait=30"))["status"] == "booked"


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan", "", "1&wait=2"])
async def test_a_bad_wait_is_a_400(api: Api, wait: str) -> None:
    assert_problem(await api.get(f"/bookings/any?wait={wait}"), 400, "wait")


async def test_an_unknown_parameter_is_named(api: Api) -> None:
    assert_problem(await api.get("/bookings/any?colour=red"), 400, "colour")


# Cancelling


async def test_cancelling_a_running_trip_undoes_it(
    api: Api, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    path = await start(api)
    await gate.reached()
    first = body_of(await api.call("POST", f"{path}/cancel"))
    await gate.open()
    assert first["status"] == "cancelled"
    assert first["reservations"] == {}
    assert body_of(await api.call("POST", f"{path}/cancel")) == first
    assert {row.state for row in await record.reservations_of(first["user_id"])} == {"cancelled"}


async def test_cancelling_a_booked_trip_undoes_it_once_however_often_it_is_asked(
    api: Api, faults: FaultyRecord, record: Record, client: Client
) -> None:
    booked = body_of(await api.book(JOHN))
    path = f"/bookings/{booked['user_id']}"
    answers = await asyncio.gather(*(api.call("POST", f"{path}/cancel") for _ in range(8)))
    bodies = [body_of(answer) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["status"] == "cancelled"
    assert cancellation_id(booked["user_id"]).replace(":", "%3A") in bodies[0]["links"]["web_ui"]
    assert body_of(await api.get(path)) == bodies[0]
    assert {row.state for row in await record.reservations_of(booked["user_id"])} == {"cancelled"}


@pytest.mark.usefixtures("worker")
async def test_a_rolled_back_trip_cannot_be_cancelled(api: Api) -> None:
    user_id = body_of(await api.book(DOOMED))["user_id"]
    assert_problem(await api.call("POST", f"/bookings/{user_id}/cancel"), 409)


async def test_without_a_worker_a_cancel_is_accepted(client: Client) -> None:
    api = api_of(client, book_wait_seconds=0.1)
    path = await start(api)
    response = await api.call("POST", f"{path}/cancel")
    assert response.status_code == 202
    assert response.headers["Location"] == path
    await client.get_workflow_handle(body_of(response)["user_id"]).terminate()


async def test_a_trip_that_was_terminated_needs_attention_until_it_is_cancelled(
    api: Api, faults: FaultyRecord, client: Client, record: Record
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    path = await start(api)
    await gate.reached()
    user_id = path.rpartition("/")[2]
    await client.get_workflow_handle(user_id).terminate()
    stopped = body_of(await api.get(path))
    assert (stopped["status"], state_of(stopped, "car")) == ("needs_attention", "booked")
    assert state_of(stopped, "flight") == "booking"
    await gate.open()
    assert body_of(await api.call("POST", f"{path}/cancel"))["status"] == "cancelled"
    assert {row.state for row in await record.reservations_of(user_id)} == {"cancelled"}


@pytest.mark.parametrize("action", ["cancel", "undo/car/retry"])
async def test_an_unknown_trip_can_be_neither_cancelled_nor_repaired(api: Api, action: str) -> None:
    assert_problem(await api.call("POST", f"/bookings/nobody/{action}"), 404)


# Repairing


async def test_a_stuck_undo_can_be_retried(api: Api, faults: FaultyRecord) -> None:
    path = await start_stuck(api, faults)
    del faults.faults["cancel", "hotel"]
    await api.call("POST", f"{path}/undo/hotel/retry")
    ended = body_of(await api.get(f"{path}?wait=20"))
    assert (ended["status"], state_of(ended, "hotel")) == ("rolled_back", "undone")
    again = await api.call("POST", f"{path}/undo/hotel/retry")
    assert body_of(again) == ended


async def test_a_stuck_undo_can_be_resolved(api: Api, faults: FaultyRecord) -> None:
    path = await start_stuck(api, faults)
    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    ended = body_of(await api.get(f"{path}?wait=20"))
    assert (ended["status"], state_of(ended, "hotel")) == ("rolled_back", "resolved")
    assert ended["steps"][1]["note"] == NOTE["note"]
    again = await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    assert body_of(again) == ended
    assert_problem(await api.call("POST", f"{path}/undo/car/resolve", json=NOTE), 409)


async def test_a_stuck_cancellation_can_be_resolved(api: Api, faults: FaultyRecord) -> None:
    path = f"/bookings/{body_of(await api.book(JOHN))['user_id']}"
    faults.faults["cancel", "car"] = refuse_for_good
    stuck = await api.call("POST", f"{path}/cancel")
    assert (stuck.status_code, body_of(stuck)["status"]) == (202, "needs_attention")
    await api.call("POST", f"{path}/undo/car/resolve", json=NOTE)
    assert body_of(await api.get(f"{path}?wait=20"))["status"] == "cancelled"


async def test_what_is_not_stuck_is_a_conflict(api: Api, faults: FaultyRecord) -> None:
    path = await start_stuck(api, faults)
    assert_problem(await api.call("POST", f"{path}/undo/car/resolve", json=NOTE), 409)
    assert_problem(await api.call("POST", f"{path}/undo/boat/retry"), 404)
    assert_problem(await api.call("POST", f"{path}/undo/hotel/resolve", json={}), 400, "note")
    assert_problem(await api.call("POST", f"{path}/undo/hotel/resolve", data=b"{}"), 415)
    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    booked = f"/bookings/{body_of(await api.book(JOHN))['user_id']}"
    assert_problem(await api.call("POST", f"{booked}/undo/hotel/retry"), 409)


async def test_without_a_worker_a_repair_is_503(
    api: Api, client: Client, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookings.temporal.RPC_TIMEOUT", dt.timedelta(seconds=1))
    async with faulty_worker(client, record) as faults:
        path = await start_stuck(api, faults)
    assert_problem(await api.call("POST", f"{path}/undo/hotel/retry"), 503)
    await client.get_workflow_handle(path.rpartition("/")[2]).terminate()
