"""Looking bookings up, listing, cancelling and repairing them through the API."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey

from record import Record
from shared import KINDS, cancellation_id
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
    cancelling = asyncio.create_task(api.call("POST", f"{path}/cancel"))
    await until(lambda: api.get(path), status="needs_attention")
    await api.call("POST", f"{path}/undo/car/resolve", json=NOTE)
    assert body_of(await cancelling)["status"] == "cancelled"


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


# Listing


async def listed(
    api: Api, headers: dict[str, str] | None = None, **parameters: object
) -> list[dict[str, Any]]:
    """Return the bookings on all pages."""
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next_cursor": None}
    while True:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        query = {"limit": 100} | parameters | cursor
        page = body_of(await api.get("/bookings", query_string=query, headers=headers))
        found += page["bookings"]
        if page["next_cursor"] is None:
            return found


async def until_listed(api: Api, wanted: dict[str, str], **parameters: Any) -> None:
    """Wait until the ids in `wanted` are listed with their status; lists lag a little behind."""
    async with asyncio.timeout(20):
        while True:
            found = {each["user_id"]: each["status"] for each in await listed(api, **parameters)}
            if found.items() >= wanted.items():
                return
            await asyncio.sleep(0.05)


async def test_bookings_are_listed_by_status(api: Api, faults: FaultyRecord) -> None:
    booked, cancelled, rolled_back = [
        body_of(await api.book(body))["user_id"] for body in (JOHN, JOHN, DOOMED)
    ]
    await api.call("POST", f"/bookings/{cancelled}/cancel")
    stuck = (await start_stuck(api, faults)).rpartition("/")[2]
    statuses = {
        booked: "booked",
        cancelled: "cancelled",
        rolled_back: "rolled_back",
        stuck: "needs_attention",
    }
    await until_listed(api, statuses)
    for user_id, status in statuses.items():
        await until_listed(api, {user_id: status}, status=status)
        others = {each["user_id"] for each in await listed(api, status=status)} - {user_id}
        assert not others & statuses.keys()
    await api.call("POST", f"/bookings/{stuck}/undo/hotel/resolve", json=NOTE)


@pytest.mark.usefixtures("worker")
async def test_pages_hold_every_booking_once(api: Api) -> None:
    ids = [body_of(await api.book(JOHN))["user_id"] for _ in range(5)]
    await until_listed(api, dict.fromkeys(ids, "booked"))
    found = [each["user_id"] for each in await listed(api, status="booked", limit=2)]
    assert len(found) == len(set(found))
    assert set(ids) <= set(found)
    newest_first = [user_id for user_id in found if user_id in ids]
    assert newest_first == ids[::-1]


@pytest.mark.usefixtures("worker")
async def test_a_row_says_what_the_trip_is_and_where(api: Api) -> None:
    user_id = body_of(await api.book(JOHN))["user_id"]
    await until_listed(api, {user_id: "booked"})
    row = next(each for each in await listed(api) if each["user_id"] == user_id)
    assert {key: row[key] for key in ("name", *KINDS)} == {
        key: JOHN[key] for key in ("name", *KINDS)
    }
    assert row["links"]["self"] == f"/bookings/{user_id}"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"status": "bogus"}, "status"),
        ({"status": "booked' OR 1=1 --"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "eyJxdWVyeSI6ICIxPTEiLCAidG9rZW4iOiAiIn0="}, "cursor"),
        ({"cursor": "W10="}, "cursor"),
        ({"cursor": "x" * 2_001}, "cursor"),
        ({"order": "up"}, "order"),
    ],
    ids=str,
)
async def test_a_bad_question_is_a_400_that_names_it(
    api: Api, parameters: dict[str, str], field: str
) -> None:
    assert_problem(await api.get("/bookings", query_string=parameters), 400, field)


@pytest.mark.usefixtures("worker")
async def test_a_cursor_is_only_good_for_the_list_it_came_from(api: Api) -> None:
    ids = [body_of(await api.book(JOHN))["user_id"] for _ in range(2)]
    await until_listed(api, dict.fromkeys(ids, "booked"))
    cursor = body_of(await api.get("/bookings?status=booked&limit=1"))["next_cursor"]
    response = await api.get("/bookings", query_string={"status": "running", "cursor": cursor})
    assert_problem(response, 400, "cursor")


@pytest.mark.usefixtures("worker")
async def test_a_server_without_the_search_attributes_lists_but_cannot_filter(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = SearchAttributeKey.for_keyword("NotRegistered")
    for module in ("starting", "temporal", "listing"):
        monkeypatch.setattr(f"bookings.{module}.STATUS_KEY", unknown)
    api = api_of(client)
    trips = {
        body_of(await api.book(JOHN))["user_id"]: "booked",
        body_of(await api.book(DOOMED))["user_id"]: "rolled_back",
    }
    await until_listed(api, trips)
    assert_problem(await api.get("/bookings?status=booked"), 500)
