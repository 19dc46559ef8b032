"""While the record cannot be asked the API says so at once, and starts nothing unrecorded."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.client import Client

from api import trip_at_hand
from record import Record, RecordedTrip, RecordUnavailable
from shared import keyed_user_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.trips import eventually

UNAVAILABLE = "The record is unavailable; try again."

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


async def ask(api: Api, method: str, path: str, **headers: str) -> Any:
    bodies = {"/book": JOHN, "/bookings/some-trip/undo/car/resolve": {"note": "By phone."}}
    body = {"json": bodies[path]} if path in bodies else {}
    return await api.call(method, path, headers=headers, **body)


@pytest.fixture
def mount(tmp_path: Path) -> Callable[[], None]:
    """Makes the folder of the database, which is not there yet."""
    return (tmp_path / "not-mounted").mkdir


@pytest.fixture
async def away(client: Client, record: Record, tmp_path: Path) -> Api:
    """The API of a record that is away."""
    # Alembic prepares one database at a time in a process; the worker's comes first.
    await record.prepare()
    return api_of(client, database_url=f"sqlite:///{tmp_path}/not-mounted/record.db")


async def started(client: Client, key: str) -> bool:
    """Tell whether there is a workflow of the trip that the key leads to."""
    query = f"WorkflowId = '{keyed_user_id('anonymous', key)}'"
    return (await client.count_workflows(query)).count > 0


@pytest.mark.parametrize(("method", "path"), QUESTIONS)
async def test_it_is_an_outage_that_mends_itself(
    away: Api, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    response = await ask(away, method, path)
    assert_problem(response, 503)
    assert response.json["detail"] == UNAVAILABLE
    assert int(response.headers["Retry-After"]) > 0
    assert "not-mounted" not in response.text
    assert "unable to open database file" in caplog.text, "The log has the reason"


async def test_readiness_says_that_it_is_the_record(
    away: Api, worker: None, mount: Callable[[], None]
) -> None:
    async def told() -> bool:
        detail = (await away.get("/readyz")).json
        return detail is not None and detail.get("detail") == "The record is unavailable"

    await eventually(told)
    assert_problem(await away.get("/readyz"), 503)
    mount()
    assert body_of(await away.get("/readyz")) == {"status": "ok"}


@pytest.mark.parametrize("preference", [{}, {"Prefer": "respond-async"}], ids=["waits", "async"])
async def test_no_trip_is_started_that_is_not_recorded(
    client: Client, away: Api, worker: None, mount: Callable[[], None], preference: dict[str, str]
) -> None:
    key = f"away-{len(preference)}"
    headers = {"Idempotency-Key": key} | preference
    assert_problem(await ask(away, "POST", "/book", **headers), 503)
    # Visibility lags a little; this trip comes after, and is seen.
    marker = f"marker-{key}"
    body_of(await ask(api_of(client), "POST", "/book", **{"Idempotency-Key": marker}))

    async def seen() -> bool:
        return await started(client, marker)

    await eventually(seen)
    assert not await started(client, key)

    mount()
    mended = await ask(away, "POST", "/book", **headers)
    assert body_of(mended)["user_id"] == keyed_user_id("anonymous", key)


async def test_an_outage_after_the_start_leaves_a_trip_that_runs(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: Record, trip_id: str) -> None:
        raise RecordUnavailable("The record does not answer")

    api = api_of(client)
    headers = {"Idempotency-Key": "gone-meanwhile"}
    with monkeypatch.context() as outage:
        outage.setattr(Record, "trip", gone)
        response = await ask(api, "POST", "/book", **headers)
    assert (response.status_code, body_of(response)["status"]) == (202, "running")
    assert body_of(await ask(api, "POST", "/book", **headers))["cancelled"] is False


async def test_a_trip_that_was_accepted_when_the_answer_was_lost_is_told_where_to_look(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Record.accept

    async def lost(self: Record, trip: RecordedTrip) -> tuple[RecordedTrip, bool]:
        await accept(self, trip)
        raise RecordUnavailable("The record does not answer")

    api = api_of(client)
    headers = {"Idempotency-Key": "answer-lost"}
    with monkeypatch.context() as outage:
        outage.setattr(Record, "accept", lost)
        response = await ask(api, "POST", "/book", **headers)
    assert_problem(response, 503)
    place = response.json["location"]
    assert place == f"/bookings/{keyed_user_id('anonymous', 'answer-lost')}"
    accepted = body_of(await api.get(place))
    assert (accepted["status"], accepted["reservations"]) == ("running", {})
    assert body_of(await ask(api, "POST", "/book", **headers))["cancelled"] is False


@pytest.mark.parametrize(("method", "path"), QUESTIONS)
async def test_a_bug_is_no_outage(
    client: Client,
    own_database: str,
    record: Record,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
) -> None:
    await record.prepare()
    engine = sa.create_engine(own_database)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE trips RENAME COLUMN request TO asked"))
    engine.dispose()
    response = await ask(api_of(client), method, path)
    assert_problem(response, 500)
    assert response.json["detail"] == "The record refuses the request; it has been logged."
    assert "Retry-After" not in response.headers
    assert "request" in caplog.text, "The log has the reason"
    assert JOHN["name"] not in caplog.text


async def test_what_is_logged_during_a_request_tells_the_trip(away: Api) -> None:
    told: list[str | None] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(trip_at_hand())

    ear = Ear()
    logging.getLogger("api").addHandler(ear)
    try:
        for method, path in QUESTIONS:
            await ask(away, method, path)
    finally:
        logging.getLogger("api").removeHandler(ear)
    booked, *others = told
    assert re.fullmatch(r"john-doe-\d+", booked or "")
    assert others == [None] * 2 + ["some-trip"] * 5
    assert trip_at_hand() is None
