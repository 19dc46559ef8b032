"""What the API makes of a request before bookings are asked, and of what they answer.

No Temporal server: the client starts trips, and nothing more becomes of them.
"""

import asyncio
import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest

from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    Bookings,
    NoWorker,
    StepProgress,
    TemporalRefuses,
    TemporalUnavailable,
    Trip,
    UnknownCursor,
)
from shared import KINDS, cancellation_id, new_user_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.bookings.requests import stub
from tests.encrypting import setting
from tests.processes import Answer, free_port, service

NOTE = {"note": "Cancelled by phone."}

BOOKED = Trip(
    user_id="john-1",
    workflow_id="john-1",
    run_id="first-run",
    owner="anonymous",
    status="booked",
    request=JOHN,
    started_at=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
    closed_at=dt.datetime(2026, 1, 31, 13, tzinfo=dt.UTC),
    steps=[StepProgress(kind, JOHN[kind], "booked", attempts=1, held=True) for kind in KINDS],
    was_booked=True,
)
RUNNING = replace(BOOKED, status="running", closed_at=None, was_booked=False)


@pytest.fixture
def api(own_database: str) -> Api:
    client = stub()
    client.namespace = "default"
    return api_of(client, book_wait_seconds=0.1)


def answering(monkeypatch: pytest.MonkeyPatch, method: str, answer: object) -> None:
    """Have a method of the bookings return an answer, or raise it."""

    async def answered(*_: object, **__: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Bookings, method, answered)


# Bad questions


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan", "", "1&wait=2"])
async def test_a_bad_wait_is_a_400(api: Api, wait: str) -> None:
    assert_problem(await api.get(f"/bookings/any?wait={wait}"), 400, "wait")


async def test_an_unknown_parameter_is_named(api: Api) -> None:
    assert_problem(await api.get("/bookings/any?colour=red"), 400, "colour")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"status": "bogus"}, "status"),
        ({"status": "booked' OR 1=1 --"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "9" * 400}, "limit"),
        ({"cursor": "x" * 2_001}, "cursor"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"order": "up"}, "order"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_bad_question_about_the_list_names_the_parameter(
    api: Api, parameters: dict[str, str], field: str
) -> None:
    assert_problem(await api.get("/bookings", query_string=parameters), 400, field)


async def test_a_repair_needs_a_note_in_json_and_a_kind(api: Api) -> None:
    path = "/bookings/any/undo"
    assert_problem(await api.call("POST", f"{path}/boat/retry"), 404)
    assert_problem(await api.call("POST", f"{path}/hotel/resolve", json={}), 400, "note")
    assert_problem(await api.call("POST", f"{path}/hotel/resolve", data=b"{}"), 415)


# Answers


@pytest.mark.parametrize("preference", ["respond-async", "wait=5, Respond-Async; x=1"])
async def test_a_caller_may_prefer_not_to_wait(api: Api, preference: str) -> None:
    response = await api.book(JOHN, Prefer=preference)
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Location"] == body_of(response)["location"]
    assert body_of(response)["status"] == "running"


async def test_what_is_over_is_told_to_a_caller_who_would_not_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "book", BOOKED)
    response = await api.book(JOHN, Prefer="respond-async")
    assert (response.status_code, body_of(response)["cancelled"]) == (200, False)
    assert "Preference-Applied" not in response.headers


async def test_other_preferences_are_let_be(api: Api) -> None:
    response = await api.book(JOHN, Prefer="wait=5")
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


async def test_a_cancellation_that_goes_on_is_202_and_leads_to_its_workflow(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = cancellation_id("john-1")
    answering(monkeypatch, "cancel", replace(RUNNING, workflow_id=workflow_id))
    response = await api.call("POST", "/bookings/john-1/cancel")
    assert (response.status_code, response.headers["Location"]) == (202, "/bookings/john-1")
    assert workflow_id.replace(":", "%3A") in body_of(response)["links"]["web_ui"]


async def test_a_row_of_the_list_says_what_a_look_up_says(api: Api) -> None:
    path = body_of(await api.book(JOHN, Prefer="respond-async"))["location"]
    (row,) = body_of(await api.get("/bookings"))["bookings"]
    assert {key: row[key] for key in ("name", *KINDS)} == {
        key: JOHN[key] for key in ("name", *KINDS)
    }
    looked_up = body_of(await api.get(path))
    assert {key: row[key] for key in row if key in looked_up} == {
        key: looked_up[key] for key in looked_up if key in row
    }


PROBLEMS: list[tuple[Exception, int, str | None]] = [
    (BookingNotFound(), 404, None),
    (BookingConflict("It is over."), 409, "It is over."),
    (BookingDiffers(), 422, None),
    (TemporalRefuses("Temporal refuses."), 500, "Temporal refuses."),
    (TemporalUnavailable("secret address"), 503, "Temporal cannot be reached; try again."),
    (NoWorker("no worker"), 503, None),
]


@pytest.mark.parametrize(("error", "status", "detail"), PROBLEMS, ids=lambda value: repr(value))
async def test_what_goes_wrong_is_a_problem_and_only_an_outage_is_to_be_tried_again(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    detail: str | None,
) -> None:
    error.__cause__ = RuntimeError("secret of the server")
    for method in ("book", "cancel", "look_up", "retry_undo"):
        answering(monkeypatch, method, error)
    for answer in (
        await api.book(JOHN, Idempotency_Key="k"),
        await api.call("POST", "/bookings/john-1/cancel"),
        await api.get("/bookings/john-1"),
        await api.call("POST", "/bookings/john-1/undo/car/retry"),
    ):
        assert_problem(answer, status)
        assert answer.json is not None
        assert answer.json["detail"] == detail or detail is None
        assert ("Retry-After" in answer.headers) is (status == 503)
        assert "secret" not in answer.text
    assert ("secret of the server" in caplog.text) is (status == 500), "The log has it"


async def test_a_forged_cursor_is_named(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "page", UnknownCursor())
    assert_problem(await api.get("/bookings?cursor=forged"), 400, "cursor")


# Names


@pytest.mark.parametrize(
    ("keys", "prefix"), [("new", "trip-"), ("", "john-doe-"), ("plain,new", "john-doe-")]
)
async def test_ids_tell_names_only_while_nothing_is_encrypted(
    own_database: str, caplog: pytest.LogCaptureFixture, keys: str, prefix: str
) -> None:
    client = stub()
    client.namespace = "default"
    ids = [key for key in keys.split(",") if key]
    api = api_of(client, payload_keys=setting(*ids), book_wait_seconds=0.1)
    told: dict[str, Any] = body_of(await api.book(JOHN, Prefer="respond-async"))
    assert told["user_id"].removeprefix(prefix).isdigit()
    assert len(told["user_id"]) == len(new_user_id("trip")) - len("trip-") + len(prefix)
    # The client here encrypts nothing, whatever the settings say.
    assert ("names go to Temporal in clear" in caplog.text) is (keys == "new")


# Two processes


@pytest.mark.slow
async def test_eight_clients_at_once_on_two_api_processes_get_one_booking() -> None:
    with service(HOTEL_LATENCY_SECONDS=0.5) as running:
        second_port = free_port()
        second_api = running.python("api-2", "starter.py", PORT=str(second_port))
        await asyncio.to_thread(running.start)
        second_api.start()
        await asyncio.to_thread(second_api.wait_for_output, "Ready: book at")
        headers = {"Idempotency-Key": "eight-at-once"}

        def book(port: int) -> Answer:
            return running.request("POST", "/book", JOHN, headers, port=port)

        ports = [running.api_port, second_port] * 4
        answers = await asyncio.gather(*(asyncio.to_thread(book, port) for port in ports))
        assert {answer.status for answer in answers} == {200}
        assert len({json.dumps(answer.body) for answer in answers}) == 1
        assert len(running.rows()) == len(KINDS)
