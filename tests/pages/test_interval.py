"""How often the page of a trip asks whether the trip has changed."""

import datetime as dt
import re
from html import unescape

import pytest
from temporalio.client import Client

from pages import trip_page
from record import Record, RecordedTrip
from tests.api.api_client import JOHN, api_of

ASKS = re.compile(r'hx-get="([^"]+)" hx-trigger="every (\d+)ms"')


def asked(page: str) -> tuple[str, int]:
    """Return what a page asks for, and how often in ms."""
    found = ASKS.search(page)
    assert found, page
    return unescape(found[1]), int(found[2])


async def test_the_open_page_of_a_trip_asks_less_often_once_the_trip_takes_long(
    client: Client, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = dt.datetime.now(dt.UTC)
    row = RecordedTrip("a-trip", "anonymous", JOHN, "running", "a-trip", began)
    await record.trips.accept(row)
    api = api_of(client)
    monkeypatch.setattr(trip_page, "SLOW_AFTER", dt.timedelta(days=1))
    path, interval = asked((await api.get("/trips/a-trip")).text)
    assert interval == trip_page.INTERVAL_MS
    assert (await api.get(path)).status_code == 204

    monkeypatch.setattr(trip_page, "SLOW_AFTER", dt.timedelta())
    path, interval = asked((await api.get(path)).text)
    assert interval == trip_page.SLOW_INTERVAL_MS
    assert (await api.get(path)).status_code == 204
