"""The HTTP API, through Flask's test client, over a real Temporal server and a real worker."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from connection import lazy_client
from record import Record
from settings import Settings
from shared import KINDS
from starter import create_app
from tests.api.api_client import JOHN, Api, api_of, assert_problem
from tests.workers import running_worker


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client)


@pytest.fixture
async def away() -> AsyncIterator[Api]:
    """The API in front of a Temporal that is not there."""
    yield api_of(await lazy_client({"target_host": "localhost:1"}))


async def trips_started(client: Client) -> int:
    return (await client.count_workflows()).count


# Booking


@pytest.mark.usefixtures("worker")
async def test_a_booked_trip_answers_as_the_contract_says(api: Api) -> None:
    response = await api.book(JOHN)
    assert response.status_code == 200
    assert response.json is not None
    user_id = response.json["user_id"]
    assert re.fullmatch(r"john-doe-\d{29}", user_id)
    assert response.json == {
        "cancelled": False,
        "user_id": user_id,
        "car": "Car: valid-car-id",
        "hotel": "Hotel: valid-hotel-id",
        "flight": "Flight: valid-flight-id",
        "result": (
            "Booked car: valid-car-id Booked hotel: valid-hotel-id Booked flight: valid-flight-id"
        ),
    }


@pytest.mark.parametrize("kind", ["car", "hotel", "flight"])
async def test_a_rolled_back_trip_answers_200_with_the_root_cause(
    api: Api, worker: None, record: Record, kind: str
) -> None:
    response = await api.book(JOHN | {kind: f"invalid-{kind}-id"})
    assert response.status_code == 200
    assert response.json is not None
    assert response.json == {
        "cancelled": True,
        "user_id": response.json["user_id"],
        "result": "Voyage cancelled",
        "reason": f"Invalid {kind} booking, rolling back!",
    }
    held = await record.reservations_of(response.json["user_id"])
    assert {reservation.state for reservation in held} == {"cancelled"}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "changes",
    [
        {"attempts": "5"},
        {"attempts": 5.0},
        {"attempts": 1},
        {"attempts": 100},
        {"name": "Zoë 漢字 🧳"},
        {"name": "🧳"},
        {"name": "\u202eشخص ما"},
        {"name": "x" * 200},
        {"car": "a b/c?d#e%f"},
    ],
    ids=ascii,
)
async def test_unusual_but_good_input_is_booked(api: Api, changes: dict[str, Any]) -> None:
    response = await api.book(JOHN | changes)
    assert response.status_code == 200, response.text
    assert response.json is not None and response.json["cancelled"] is False
    assert re.fullmatch(r"[a-z0-9-]{1,40}-\d{29}", response.json["user_id"])


@pytest.mark.usefixtures("worker")
async def test_attempts_may_be_left_out(api: Api) -> None:
    response = await api.book({key: JOHN[key] for key in JOHN if key != "attempts"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"car": "a\nb"}, "car"),
        ({"hotel": "\ud800"}, "hotel"),
        ({"flight": ["x"]}, "flight"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": 101}, "attempts"),
        ({"attempts": -1}, "attempts"),
        ({"attempts": 1.5}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"attempts": "five"}, "attempts"),
        ({"attempts": "0"}, "attempts"),
        ({"attempts": ""}, "attempts"),
        ({"attempts": "٥"}, "attempts"),
        ({"attempts": None}, "attempts"),
        ({"attempts": 10**300}, "attempts"),
        ({"colour": "red"}, "colour"),
    ],
    ids=ascii,
)
async def test_a_bad_field_is_named_and_starts_nothing(
    api: Api, client: Client, changes: dict[str, Any], field: str
) -> None:
    before = await trips_started(client)
    assert_problem(await api.book(JOHN | changes), 400, field)
    assert await trips_started(client) == before


async def test_every_missing_field_is_named(api: Api) -> None:
    assert_problem(await api.book({}), 400, "name", *KINDS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"{}"',
        b"null",
        b"5",
        b"\xff\xfe{}",
        b'{"name": "a", "name": "b"}',
        b'{"attempts": NaN}',
        b'{"attempts": Infinity}',
        b'{"attempts": 1e999}',
        b'{"attempts": ' + b"9" * 5000 + b"}",
        b"[" * 16_000,
        b'{"name": ' * 1500,
    ],
    ids=lambda body: ascii(body[:30]),
)
async def test_a_bad_body_is_a_clear_400(api: Api, body: bytes) -> None:
    response = await api.book_raw(body)
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert response.json is not None and response.json["errors"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON"])
async def test_json_is_taken_with_parameters(api: Api, content_type: str) -> None:
    body = json.dumps(JOHN).encode()
    assert (await api.book_raw(body, {"Content-Type": content_type})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
    ],
    ids=str,
)
async def test_another_content_type_is_415(api: Api, headers: dict[str, str]) -> None:
    assert_problem(await api.book_raw(json.dumps(JOHN).encode(), headers), 415)


async def test_a_body_over_16_kib_is_413(api: Api) -> None:
    assert_problem(await api.book_raw(b" " * (16 * 1024 + 1)), 413)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/book", {"POST", "OPTIONS"}), ("DELETE", "/livez", {"GET", "HEAD", "OPTIONS"})],
)
async def test_another_method_is_405_and_tells_the_right_ones(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    response = await api.call(method, path)
    assert_problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


async def test_an_unknown_path_is_404(api: Api) -> None:
    assert_problem(await api.get("/nowhere"), 404)


# Waiting


async def test_a_trip_that_outlasts_the_wait_is_202_with_its_place(client: Client) -> None:
    response = await api_of(client, book_wait_seconds=0.1).book(JOHN)  # No worker.
    assert response.status_code == 202
    assert response.json is not None
    user_id = response.json["user_id"]
    assert response.json["status"] == "running"
    assert response.headers["Location"] == response.json["location"] == f"/bookings/{user_id}"
    await client.get_workflow_handle(user_id).terminate()


async def test_an_orderly_stop_answers_the_requests_that_wait(client: Client) -> None:
    app = create_app(client, Settings())
    waiting = asyncio.create_task(Api(app.test_client()).book(JOHN))  # No worker.
    bookings = app.extensions["bookings"]
    async with asyncio.timeout(10):
        while not (waits := list(bookings._waits)):
            await asyncio.sleep(0.01)
    # Flask's client gives each request a loop of its own; the server has one for all.
    waits[0].get_loop().call_soon_threadsafe(bookings.stop_waiting)
    response = await waiting
    assert response.status_code == 202
    assert response.json is not None
    await client.get_workflow_handle(response.json["user_id"]).terminate()


# Looking up


async def test_a_booked_trip_can_be_looked_up(api: Api, client: Client, record: Record) -> None:
    async with running_worker(client, record, hotel_outage_attempts=1):
        booked = (await api.book(JOHN)).json
        assert booked is not None
        found = (await api.get(f"/bookings/{booked['user_id']}")).json
    assert found is not None
    assert found["status"] == "booked"
    assert found["stale"] is False
    assert found["reason"] is None
    assert found["reservations"] == {kind: JOHN[kind] for kind in KINDS}
    assert [(step["kind"], step["state"], step["attempts"]) for step in found["steps"]] == [
        (kind, "booked", 2 if kind == "hotel" else 1) for kind in KINDS
    ]
    assert found["steps"][1]["last_error"] == "Hotel service is down. Retrying..."
    assert all(step["booking_seconds"] >= 0 for step in found["steps"])
    assert {step["undo_seconds"] for step in found["steps"]} == {None}
    assert found["started_at"] < found["closed_at"]
    assert found["links"]["self"] == f"/bookings/{booked['user_id']}"
    web_ui = found["links"]["web_ui"]
    assert f"/namespaces/default/workflows/{booked['user_id']}/" in web_ui
    assert web_ui.endswith("/timeline")


@pytest.mark.usefixtures("worker")
async def test_a_rolled_back_trip_tells_why(api: Api) -> None:
    booked = (await api.book(JOHN | {"flight": "invalid-flight-id"})).json
    assert booked is not None
    found = (await api.get(f"/bookings/{booked['user_id']}")).json
    assert found is not None
    assert (found["status"], found["reason"]) == ("rolled_back", booked["reason"])
    assert found["reservations"] == {}
    assert {step["state"] for step in found["steps"]} == {"undone"}
    assert all(step["booking_seconds"] >= 0 for step in found["steps"])
    assert all(step["undo_seconds"] >= 0 for step in found["steps"])


async def test_without_a_worker_a_running_trip_is_stale_but_does_not_hang(client: Client) -> None:
    api = api_of(client, book_wait_seconds=0.1)
    started = (await api.book(JOHN)).json
    assert started is not None
    found = (await api.get(started["location"])).json
    assert found is not None
    assert (found["status"], found["stale"]) == ("running", True)
    assert {step["state"] for step in found["steps"]} == {"pending"}
    await client.get_workflow_handle(started["user_id"]).terminate()
    stopped = (await api.get(started["location"])).json
    assert stopped is not None
    assert stopped["status"] == "needs_attention"
    assert "stopped from outside" in stopped["reason"]


async def test_a_trip_that_was_stopped_from_outside_is_not_called_cancelled(
    api: Api, client: Client
) -> None:
    started = (await api.book(JOHN, Idempotency_Key="stopped", Prefer="respond-async")).json
    assert started is not None and started["status"] == "running"
    await client.get_workflow_handle(started["user_id"]).terminate()
    again = await api.book(JOHN, Idempotency_Key="stopped")
    assert (again.status_code, again.json) == (202, started | {"status": "needs_attention"})


@pytest.mark.parametrize("user_id", ["nobody", "x" * 2000, "a%00b", "%F0%9F%A7%B3", "..%2Fx"])
async def test_an_unknown_trip_is_404(api: Api, user_id: str) -> None:
    assert_problem(await api.get(f"/bookings/{user_id}"), 404)


async def test_a_workflow_that_is_no_trip_is_404(api: Api, client: Client) -> None:
    handle = await client.start_workflow("Other", id="not-a-trip", task_queue="nobody-polls-this")
    assert_problem(await api.get("/bookings/not-a-trip"), 404)
    await handle.terminate()


# Health and faults


@pytest.mark.usefixtures("worker")
async def test_it_is_ready_when_a_worker_polls(api: Api) -> None:
    async with asyncio.timeout(10):
        while (await api.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
    assert (await api.get("/livez")).json == {"status": "ok"}


async def test_while_temporal_is_away_it_lives_but_is_not_ready(away: Api) -> None:
    assert (await away.get("/livez")).status_code == 200
    response = await away.get("/readyz")
    assert_problem(response, 503)
    assert response.json is not None
    assert response.json["detail"] == "Temporal cannot be reached"


async def test_while_temporal_is_away_a_booking_is_503_and_may_be_looked_for(away: Api) -> None:
    response = await away.book(JOHN)
    assert_problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
    assert response.json is not None
    assert response.json["location"].startswith("/bookings/john-doe-")
    assert "localhost:1" not in response.text, "Nothing internal leaks"
    assert_problem(await away.get("/bookings/some-trip"), 503)


async def test_a_bug_is_a_500_that_tells_nothing_internal(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(client, Settings())

    @app.get("/bug")
    def bug() -> str:
        raise LookupError("secret")

    response = await Api(app.test_client()).get("/bug")
    assert_problem(response, 500)
    assert "secret" not in response.text
    assert "secret" in caplog.text, "The log has it"
