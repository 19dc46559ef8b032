"""The API's `/metrics`: who may read it, and that nothing which is away holds it up."""

import asyncio
import logging
import time
from typing import Any

import pytest
from temporalio.client import Client

import starter
from api import places, routes
from connection import lazy_client
from record import RecordUnavailable, Trips, promises_now
from telemetry import gauges
from tests.api.api_client import Api, api_of, assert_problem
from tests.telemetry.scraping import Scrape

OPERATOR, READER = "secret-of-operator-1", "secret-of-a-reader-1"
SCRAPER = "secret-of-prometheus"
KEYS = f"desk:{OPERATOR}:operator,shop:{READER},prometheus:{SCRAPER}:metrics"

OF_THE_RECORD = {
    "booking_trips_open",
    "booking_trips_past_deadline",
    "booking_undos_stuck",
    "booking_undo_stuck_oldest_age_seconds",
    "booking_outcomes_unknown",
    "booking_outcome_unknown_oldest_age_seconds",
    "booking_events_undelivered",
    "booking_event_undelivered_oldest_age_seconds",
}


@pytest.fixture
async def away(own_database: str) -> Client:
    """A client of a Temporal that is not there."""
    return await lazy_client({"target_host": "localhost:1"})


async def scraped(api: Api) -> Scrape:
    answer = await api.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


async def test_without_temporal_all_is_told(away: Client) -> None:
    scrape = await scraped(api_of(away))
    assert set(scrape.types) >= OF_THE_RECORD
    assert scrape.value("booking_record_up") == 1
    assert scrape.value("booking_trips_open", status="running") == 0


@pytest.mark.parametrize(
    ("key", "status"), [(None, 401), (READER, 403), (OPERATOR, 200), (SCRAPER, 200)]
)
async def test_with_keys_only_an_operator_and_a_key_of_metrics_read_them(
    away: Client, key: str | None, status: int
) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = await api_of(away, api_keys=KEYS).get("/metrics", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert_problem(answer, status)


async def test_without_a_record_the_rest_is_told_and_that_it_is_away(
    away: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def unavailable(*_: object) -> None:
        raise RecordUnavailable("The record is unavailable")

    monkeypatch.setattr(starter, "promises_now", unavailable)
    with caplog.at_level(logging.WARNING, "telemetry"):
        scrape = await scraped(api_of(away))
    assert scrape.value("booking_record_up") == 0
    assert not OF_THE_RECORD & set(scrape.types)
    assert scrape.value("booking_places", place="wait") == 1_000
    assert scrape.value("booking_places", place="long_poll") == 300
    assert scrape.value("booking_requests_waiting", caller="anonymous") == 0
    assert scrape.value("booking_database_connections_max") == 5
    assert "The record is unavailable" in caplog.text


class Hanging:
    """A record that says nothing until it may, and what it was asked."""

    def __init__(self) -> None:
        self.questions = 0
        self.may_answer = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def promises(self, *_: object, **__: object) -> None:
        self.questions += 1
        waiting = asyncio.run_coroutine_threadsafe(self.may_answer.wait(), self._loop)
        await asyncio.wrap_future(waiting)
        raise RecordUnavailable("It has hung")


async def test_a_record_that_hangs_is_asked_once_and_holds_no_scrape_up(
    away: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "QUESTION_LIMIT", 0.3)
    hanging = Hanging()
    monkeypatch.setattr(starter, "promises_now", hanging.promises)
    api = api_of(away)
    begun = time.monotonic()
    try:
        for _ in range(3):
            assert (await scraped(api)).value("booking_record_up") == 0
        assert time.monotonic() - begun < 10
        assert hanging.questions == 1
    finally:
        hanging.may_answer.set()


async def test_however_many_scrape_the_record_is_asked_seldom(
    away: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return await promises_now(*arguments)

    monkeypatch.setattr(starter, "promises_now", counted)
    monkeypatch.setattr(gauges, "QUESTION_INTERVAL", 3600.0)
    api = api_of(away)
    for _ in range(10):
        assert (await scraped(api)).value("booking_record_up") == 1
    assert len(asked) == 1
    monkeypatch.setattr(gauges, "QUESTION_INTERVAL", 0.0)
    await scraped(api)
    assert len(asked) == 2


async def test_scrapes_that_hang_leave_threads_to_others(
    away: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They pass the gate, so that something else must keep them from taking all threads."""
    monkeypatch.setattr(routes, "SCRAPES_AT_ONCE", 2)
    hanging = Hanging()
    monkeypatch.setattr(starter, "promises_now", hanging.promises)
    monkeypatch.setattr(gauges, "QUESTION_LIMIT", 20.0)
    api = api_of(away)
    scrapes = [asyncio.create_task(api.get("/metrics")) for _ in range(3)]
    try:
        async with asyncio.timeout(10):
            done, hang = await asyncio.wait(scrapes, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert_problem(await refused, 503)
    finally:
        hanging.may_answer.set()
    assert {(await each).status_code for each in hang} == {200}


async def test_a_scrape_is_answered_while_every_place_is_taken(
    away: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OTHER_REQUESTS", 0)
    api = api_of(away, max_open_bookings=1)
    hanging = Hanging()
    monkeypatch.setattr(Trips, "page", hanging.promises)
    listing = asyncio.create_task(api.get("/bookings"))
    try:
        async with asyncio.timeout(20):
            while not hanging.questions:
                await asyncio.sleep(0.01)
        assert_problem(await api.get("/openapi.json"), 503)
        scrape = await scraped(api)
    finally:
        hanging.may_answer.set()
        await listing
    assert scrape.counts("booking_places_in_use", "place") == {("request",): 1}
    assert scrape.value("booking_places", place="request") == 1
    assert (await scraped(api)).counts("booking_places_in_use", "place") == {}


async def test_requests_are_counted_by_route_and_never_by_path(away: Client) -> None:
    api, other = api_of(away), api_of(away)
    for number in range(3):
        await api.get(f"/bookings/nobody-{number}")
        await api.get(f"/nowhere/{number}")
        await api.call(f"ODD{number}", "/book")
    name = "http_server_request_duration_seconds_count"
    labels = ("http_request_method", "http_route", "http_response_status_code")
    assert (await scraped(api)).counts(name, *labels) == {
        ("GET", "/bookings/<user_id>", "404"): 3,
        ("GET", "", "404"): 3,
        ("_OTHER", "", "405"): 3,
    }
    assert (await scraped(other)).counts(name, *labels) == {}, "Each app counts for itself"
