"""The HTTP client's line: what leaves it, to whom, and how often."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from suppliers import HttpSupplier, Refused, Released
from tests.faults import DEADLINE
from tests.suppliers.over_http.raw_service import (
    CONFIRMED,
    FAILED,
    HELD,
    METHODS,
    TOKEN,
    Answer,
    RawService,
    call,
    each_method,
    heard,
    hotels_at,
    http,
)
from tests.suppliers.script import trip

OK = http(200, CONFIRMED)


ODD_IDS = [
    "a b+c",
    "one/two",
    "%2e%2e",
    "?state=confirmed;#part&d@e:f",
    "back\\slash",
    "tab\tand\r\nTrip-Id: another",
    "NUL\x00",
    "...",
    "Zoë-満室-🏨",
]

# What leaves


async def test_a_call_says_who_asks_for_which_trip(
    service: RawService, hotels: HttpSupplier
) -> None:
    for method in METHODS:
        service.says(OK if method != "DELETE" else http(200, {"state": "cancelled"}))
        await call(hotels, method, trip())
    for method, sent in zip(METHODS, service.requests, strict=True):
        assert (sent.method, sent.target) == (method, "/v1/reservations/trip")
        assert sent.headers["Authorization"] == f"Bearer {TOKEN}"
        assert sent.headers["Trip-Id"] == "trip"
        assert sent.headers["Accept"] == "application/json, application/problem+json"
        assert sent.headers["Accept-Encoding"] == "identity"
    booked, *others = service.requests
    assert booked.headers["Content-Type"] == "application/json"
    assert json.loads(booked.body) == {"item": "a-hotel"}
    assert not any(other.body for other in others)


@each_method
async def test_the_supplier_sees_exactly_the_trip_s_id(
    service: RawService, hotels: HttpSupplier, method: str
) -> None:
    service.says(OK if method != "DELETE" else http(200, {"state": "cancelled"}))
    for trip_id in ODD_IDS:
        assert await call(hotels, method, trip(trip_id)) in (HELD, Released())
        sent = service.requests[-1]
        assert re.fullmatch(r"/v1/reservations/[\w.~%-]+", sent.target, re.ASCII)
        assert sent.trip_id == unquote(sent.headers["Trip-Id"]) == trip_id


async def test_an_id_that_could_be_another_address_is_sent_to_nobody(
    service: RawService, hotels: HttpSupplier
) -> None:
    for trip_id in ["", "..", "a/../trip", "..\\trip", "a//b", "trip/", "half\ud83d"]:
        assert isinstance(await call(hotels, "PUT", trip(trip_id)), Refused)
        # So nothing of it is held.
        assert await call(hotels, "GET", trip(trip_id)) is None
        assert await call(hotels, "DELETE", trip(trip_id)) == Released()
    assert not service.requests


async def test_an_item_may_be_any_text_of_whole_characters(
    service: RawService, hotels: HttpSupplier
) -> None:
    item = '"Hôtel" 🏨 %2F..{}\n\x00\u2028'
    service.says(http(201, CONFIRMED | {"item": item}))
    assert isinstance(await call(hotels, "PUT", trip(book_hotel_id="half\ud83d")), Refused)
    assert await call(hotels, "PUT", trip(book_hotel_id=item)) == HELD
    [sent] = service.requests
    assert json.loads(sent.body) == {"item": item}


async def test_a_service_may_be_anywhere_below_its_host(service: RawService) -> None:
    service.says(OK)
    for path in ("/", "/deep/er//", "/é/a%2Fb"):
        async with hotels_at(service.url + path) as supplier:
            assert await call(supplier, "GET", trip()) == HELD
    bases = ("/v1", "/v1/deep/er", "/v1/%C3%A9/a%2Fb")
    assert [sent.target for sent in service.requests] == [
        f"{base}/reservations/trip" for base in bases
    ]


async def test_nothing_of_the_environment_is_used(
    service: RawService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".netrc").write_text("default login ada password s3cret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    service.says(OK)
    async with hotels_at(service.url) as supplier:
        assert await call(supplier, "GET", trip()) == HELD
    assert "Authorization" not in service.requests[0].headers


async def test_a_cookie_is_not_kept(service: RawService, hotels: HttpSupplier) -> None:
    service.says(http(200, CONFIRMED, {"Set-Cookie": "session=7; Path=/"}))
    for _ in range(2):
        assert await call(hotels, "GET", trip()) == HELD
    assert not any("Cookie" in sent.headers for sent in service.requests)


# Once


@each_method
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("calls_before", [0, 1])
async def test_a_request_whose_line_is_cut_is_not_sent_again(
    service: RawService, hotels: HttpSupplier, method: str, then: Any, calls_before: int
) -> None:
    service.says(*[OK] * calls_before, Answer(b"", then))
    for _ in range(calls_before):
        assert await call(hotels, "GET", trip()) == HELD
    assert await heard(hotels, method, trip()) == FAILED
    assert [sent.connection for sent in service.requests] == [1] * (calls_before + 1)


STALE = http(409, {"detail": "This is another trip's"}, problem=True).raw


async def test_an_answer_that_nobody_asked_for_is_not_the_next_one_s(
    service: RawService, hotels: HttpSupplier
) -> None:
    service.says(Answer(OK.raw + STALE), OK)
    assert await call(hotels, "GET", trip()) == HELD
    assert await call(hotels, "PUT", trip()) == HELD
    assert [sent.connection for sent in service.requests] == [1, 2]


async def test_what_comes_on_an_idle_line_is_no_answer(
    service: RawService, hotels: HttpSupplier
) -> None:
    service.says(OK)
    await call(hotels, "GET", trip())
    service.interject(STALE)
    session = hotels._line._session
    assert session and session.connector
    [[(idle, _)]] = session.connector._conns.values()
    async with asyncio.timeout(DEADLINE):
        while not idle.should_close:
            await asyncio.sleep(0.001)
    assert await call(hotels, "PUT", trip()) == HELD
    assert [sent.connection for sent in service.requests] == [1, 2]


async def test_a_request_is_not_sent_on_a_connection_that_was_closed_just_now(
    service: RawService, hotels: HttpSupplier
) -> None:
    service.says(OK)
    service.answering.clear()
    calls = [asyncio.create_task(call(hotels, "GET", trip())) for _ in range(20)]
    await service.asked(20)
    service.answering.set()
    await asyncio.gather(*calls)
    for number in range(5):
        service.hang_up()
        # The event loop has not looked at the connections since.
        assert await call(hotels, "PUT", trip()) == HELD
        assert len(service.requests) == 21 + number
