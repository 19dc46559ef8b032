"""The HTTP client: what travellers and operators read, and when a supplier is asked again."""

import datetime as dt
from email.utils import format_datetime

import pytest

from shared import retry_after
from suppliers import HttpSupplier, Refused, Unavailable
from tests.suppliers.over_http.raw_service import (
    FAILED,
    FULL,
    SOON,
    TOKEN,
    Answer,
    RawService,
    call,
    heard,
    http,
)
from tests.suppliers.script import trip


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("Überbucht — 満室 🏨", "Überbucht — 満室 🏨"),
        ("  two\r\nlines\tand\x00 \x1b[31mcolour\x85\u2028 ", "two lines and [31mcolour"),
        ("read \u202ebackwards\u200b", "read backwards"),
        ("x" * 501, "x" * 499 + "…"),
    ],
)
async def test_a_refusal_is_told_in_the_words_of_the_problem(
    service: RawService, hotels: HttpSupplier, detail: str, words: str
) -> None:
    service.says(http(422, {"detail": detail}, problem=True))
    for method in ("PUT", "DELETE"):
        assert await heard(hotels, method, trip()) == (Refused, words)


async def test_a_problem_is_known_by_its_media_type_however_it_is_written(
    service: RawService, hotels: HttpSupplier
) -> None:
    service.says(http(409, FULL, {"Content-Type": "Application/Problem+JSON; charset=utf-8"}))
    assert str(await call(hotels, "PUT", trip())) == "The hotel is full"


@pytest.mark.parametrize(
    "answer",
    [
        http(422, FULL),
        http(422, {"title": "Conflict"}, problem=True),
        http(422, FULL | {"detail": "\x00\n\u200b"}, problem=True),
        http(422, FULL | {"detail": 409}, problem=True),
        http(422, FULL | {"detail": "\ud83d"}, problem=True),
        http(422, FULL | {"detail": f"Bearer {TOKEN} may not book"}, problem=True),
    ],
    ids=lambda answer: answer.raw[-40:].decode(),
)
async def test_a_refusal_without_words_for_people_is_told_in_ours(
    service: RawService, hotels: HttpSupplier, answer: Answer
) -> None:
    service.says(answer)
    for method, what in {"PUT": "booking", "DELETE": "cancellation"}.items():
        told = f"The hotel supplier refused the {what}"
        assert await heard(hotels, method, trip()) == (Refused, told)


@pytest.mark.parametrize(
    "answer",
    [
        http(401, FULL, SOON, problem=True),
        http(401, b"<html>", {"Content-Type": "text/html"}),
        http(403, FULL),
        http(403, headers={"Content-Type": "text/plain"}),
    ],
    ids=["problem", "login page", "JSON", "empty"],
)
async def test_credentials_that_are_refused_are_an_error_that_names_the_setting(
    service: RawService,
    hotels: HttpSupplier,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
) -> None:
    service.says(answer)
    outcome = await call(hotels, "PUT", trip())
    assert (type(outcome), str(outcome)) == (Unavailable, "The hotel supplier is not available")
    assert outcome.wait == (20.0 if b"Retry-After" in answer.raw else None)
    [line] = [record for record in caplog.records if record.name == "suppliers.over_http"]
    assert (line.levelname, "HOTEL_SUPPLIER_TOKEN" in line.getMessage()) == ("ERROR", True)


@pytest.mark.parametrize("size", [1, 500_000])
async def test_a_page_of_a_firewall_is_not_about_our_credentials(
    service: RawService, hotels: HttpSupplier, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    service.says(http(403, b"<html>" * size, {"Content-Type": "text/html"}))
    assert await heard(hotels, "PUT", trip()) == FAILED
    assert "403" in caplog.text
    assert "text/html" in caplog.text
    assert "HOTEL_SUPPLIER_TOKEN" not in caplog.text


async def test_a_failure_that_the_supplier_tells_is_logged_with_kind_status_and_trip(
    service: RawService, hotels: HttpSupplier, caplog: pytest.LogCaptureFixture
) -> None:
    service.says(http(503, FULL, SOON, problem=True))
    outcome = await call(hotels, "PUT", trip("two\nlines"))
    assert (str(outcome), outcome.wait) == ("The hotel supplier failed", 20.0)
    assert (
        r"The hotel supplier answered 503: 'two\nlines' (application/problem+json)" in caplog.text
    )


# Retry-After

NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("0120", 120, 120),
        ("9" * 5_000, 86_400, 86_400),
        (format_datetime(NOW + dt.timedelta(hours=9), usegmt=True), 7 * 3600, 9 * 3600),
        ((NOW + dt.timedelta(hours=9)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 7 * 3600, 9 * 3600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
    ],
    ids=map(str, range(5)),
)
async def test_the_supplier_is_asked_again_when_it_wishes(
    service: RawService, hotels: HttpSupplier, value: str, least: int, most: int
) -> None:
    service.says(http(429, headers={"Retry-After": value}))
    outcome = await call(hotels, "PUT", trip())
    assert str(outcome) == "The hotel supplier is busy"
    assert least <= outcome.wait <= most


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "-5", "1.5", "²"),
        "Mon, 01 Jan 2026 00:00:00 +9999",
        f"Mon, 01 Jan 2026 00:00:00 +{'9' * 30}",
        f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT",
        f"Mon, 01 Jan {'9' * 5_000} 00:00:00 GMT",
    ],
    ids=map(str, range(9)),
)
def test_a_wish_that_nobody_understands_is_none(value: str) -> None:
    assert retry_after(value) is None
