"""While Temporal or the record cannot be asked the API says so at once, and where to look."""

import logging
import re
from typing import Any, cast

import pytest
import sqlalchemy as sa
from temporalio.client import Client

from api import trip_at_hand
from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    NoWorker,
    RecordError,
    RecordUnavailable,
    TemporalRefuses,
    TemporalUnavailable,
    UnreadablePayload,
)
from connection import lazy_client
from record import Record
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.api.stand_in import StandIn

AWAY = "Temporal cannot be reached; try again."

QUESTIONS = [
    ("POST", "/book"),
    ("GET", "/bookings"),
    ("GET", "/bookings?status=booked"),
    ("GET", "/bookings/some-trip"),
    ("GET", "/bookings/some-trip?wait=1"),
    ("POST", "/bookings/some-trip/cancel"),
    ("POST", "/bookings/some-trip/undo/car/retry"),
    ("POST", "/bookings/some-trip/undo/car/resolve"),
]


async def ask(api: Api, method: str, path: str) -> Any:
    bodies = {"/book": JOHN, "/bookings/some-trip/undo/car/resolve": {"note": "By phone."}}
    body = {"json": bodies[path]} if path in bodies else {}
    return await api.call(method, path, **body)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (BookingNotFound(), 404, "There is no such booking."),
        (BookingConflict("It is over."), 409, "It is over."),
        (BookingDiffers(), 422, "This Idempotency-Key was used with another body."),
        (TemporalUnavailable("dns: secret"), 503, AWAY),
        (NoWorker("secret"), 503, "No worker of the trip's version answers; try again."),
        (TemporalRefuses("Temporal refuses the key."), 500, "Temporal refuses the key."),
        (RecordUnavailable("It is away"), 503, "It is away; try again."),
        (RecordError("It is broken"), 500, "It is broken; it has been logged."),
        (UnreadablePayload("PAYLOAD_KEYS lacks a key"), 500, "PAYLOAD_KEYS lacks a key"),
    ],
)
async def test_an_error_is_a_problem_in_our_words_and_only_an_outage_is_to_be_tried_again(
    api: Api,
    bookings: StandIn,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    words: str,
) -> None:
    error.__cause__ = RuntimeError("secret of the server")
    bookings.fails = error
    for method, path in QUESTIONS:
        response = await ask(api, method, path)
        assert_problem(response, status)
        assert response.json["detail"] == words
        assert ("Retry-After" in response.headers) == (status == 503)
        assert "location" not in response.json
        assert "secret" not in response.text
    # An operator reads why.
    why = status >= 500 and not isinstance(error, NoWorker)
    assert ("secret of the server" in caplog.text) is why


@pytest.mark.parametrize(
    "error",
    [
        TemporalUnavailable("away"),
        RecordUnavailable("The record is unavailable"),
        TemporalRefuses("Temporal refuses the key."),
        UnreadablePayload("PAYLOAD_KEYS lacks a key"),
    ],
)
async def test_once_its_trip_is_accepted_an_error_tells_where_to_look(
    api: Api, bookings: StandIn, error: BookingsError
) -> None:
    bookings.fails_after_acceptance = error
    for _ in range(2):
        response = await api.book(JOHN, Idempotency_Key="again")
        (user_id,) = bookings.trips
        assert response.json and response.json["location"] == f"/bookings/{user_id}"


async def test_while_temporal_is_away_a_booking_is_503_and_may_be_looked_for(
    own_database: str,
) -> None:
    away = api_of(await lazy_client({"target_host": "localhost:1"}))
    assert (await away.get("/livez")).status_code == 200
    unready = await away.get("/readyz")
    assert_problem(unready, 503)
    assert unready.json is not None
    assert unready.json["detail"] == "Temporal cannot be reached"
    answers = [await away.book(JOHN, Idempotency_Key="the-same") for _ in range(2)]
    for response in answers:
        assert_problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        assert "localhost:1" not in response.text, "Nothing internal leaks"
    first, second = [answer.json["location"] for answer in answers if answer.json]
    assert first == second
    assert body_of(await away.get(first))["status"] == "running"
    assert_problem(await away.call("POST", f"{first}/cancel"), 503)


async def test_a_bug_is_no_outage(
    own_database: str, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine(own_database)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE trips RENAME COLUMN request TO asked"))
    engine.dispose()
    api = api_of(cast(Client, object()))
    for method, path in QUESTIONS:
        response = await ask(api, method, path)
        assert_problem(response, 500)
        assert response.json["detail"] == "The record refuses the request; it has been logged."
        assert "Retry-After" not in response.headers
    assert "request" in caplog.text, "The log has the reason"
    assert JOHN["name"] not in caplog.text


async def test_what_is_logged_during_a_request_tells_the_trip(
    api: Api, bookings: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str | None] = []

    def note(record: logging.LogRecord) -> bool:
        told.append(trip_at_hand())
        return True

    caplog.handler.addFilter(note)
    bookings.fails_after_acceptance = TemporalUnavailable("away")
    await ask(api, *QUESTIONS[0])
    bookings.fails = TemporalUnavailable("away")
    for method, path in QUESTIONS:
        await ask(api, method, path)
    accepted, *others = told
    assert re.fullmatch(r"john-doe-\d+", accepted or "")
    assert others == [None] * 3 + ["some-trip"] * 5
    assert trip_at_hand() is None
