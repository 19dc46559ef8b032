"""The HTTP client: what each answer of a supplier means."""

import gzip
import re
from typing import Any

import pytest

from suppliers import (
    AnotherItem,
    Confirmed,
    HttpSupplier,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    SupplierError,
    Unavailable,
)
from tests.suppliers.over_http.raw_service import (
    CONFIRMED,
    FAILED,
    FULL,
    HELD,
    METHODS,
    SOON,
    TOKEN,
    Answer,
    RawService,
    call,
    each_method,
    heard,
    http,
)
from tests.suppliers.script import trip

PENDING = {"state": "pending", "item": "a-hotel"}
CANCELLED = {"state": "cancelled", "item": "a-hotel"}


OURS = re.compile(r"The (hotel supplier|supplier has) [a-z ]+")
"""Our own words: no address, no number, no exception."""


def matches(outcome: Any, meaning: Any) -> bool:
    return isinstance(outcome, meaning) if isinstance(meaning, type) else bool(outcome == meaning)


@pytest.mark.parametrize(
    ("method", "answer", "meaning"),
    [
        ("PUT", http(200, CONFIRMED), HELD),
        ("PUT", http(201, CONFIRMED), HELD),
        ("PUT", http(200, CONFIRMED | {"reference": "予約 Nº 7"}), Confirmed("予約 Nº 7")),
        ("PUT", http(202, PENDING), Pending(None)),
        ("PUT", http(202, {"state": "pending"}), Pending(None)),
        ("PUT", http(202, PENDING, SOON), Pending(20.0)),
        ("PUT", http(200, CANCELLED), Refused),
        ("GET", http(200, CONFIRMED), HELD),
        ("GET", http(200, CONFIRMED | {"seat": "12A"}), HELD),
        ("GET", http(200, PENDING), Pending(None)),
        ("GET", http(200, {"state": "pending"}, SOON), Pending(20.0)),
        ("GET", http(200, CANCELLED), Released()),
        ("GET", http(200, {"state": "cancelled"}), Released()),
        ("GET", http(404, FULL), None),
        ("GET", http(410, FULL, problem=True), None),
        ("GET", http(409, FULL, problem=True), OutcomeUnknown),
        ("GET", http(204), OutcomeUnknown),
        ("DELETE", http(200, CANCELLED), Released()),
        ("DELETE", http(200, CONFIRMED), OutcomeUnknown),
        ("DELETE", http(200, PENDING), OutcomeUnknown),
        ("DELETE", Answer(b"HTTP/1.1 204 No Content\r\n\r\n"), Released()),
        ("DELETE", http(202), Pending(None)),
        ("DELETE", http(202, PENDING, SOON), Pending(20.0)),
        ("DELETE", http(404, FULL), Released()),
        ("DELETE", http(410, {}), Released()),
        *(("PUT", http(status, FULL), Refused) for status in (400, 404, 409, 410, 422, 451)),
        *(("DELETE", http(status, FULL), Refused) for status in (400, 405, 409, 422)),
        *((method, http(status), Unavailable) for status in (401, 403) for method in METHODS),
        *(
            (method, http(status, headers={"Location": "/elsewhere"}), OutcomeUnknown)
            for status in (300, 301, 304, 308)
            for method in METHODS
        ),
        *(
            (method, http(status), OutcomeUnknown)
            for status in (408, 425, 429, 500, 503, 599, 600, 999)
            for method in METHODS
        ),
        *(("PUT", http(status, CONFIRMED), OutcomeUnknown) for status in (203, 204, 206, 226)),
        # What comes before the answer is none.
        ("PUT", Answer(b"HTTP/1.1 100 Continue\r\n\r\n" + http(201, CONFIRMED).raw), HELD),
        ("GET", Answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(200, CONFIRMED).raw), HELD),
        ("PUT", Answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "close"), OutcomeUnknown),
        # Older than HTTP/1.1, and a body as long as its connection.
        ("PUT", Answer(http(201, CONFIRMED).raw.replace(b"1.1", b"1.0"), "close"), HELD),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:40],
)
async def test_each_answer_of_the_contract_has_its_meaning(
    service: RawService, hotels: HttpSupplier, method: str, answer: Answer, meaning: Any
) -> None:
    service.says(answer)
    outcome = await call(hotels, method, trip())
    assert matches(outcome, meaning)
    assert not isinstance(outcome, SupplierError) or OURS.fullmatch(str(outcome))
    assert len(service.requests) == 1


PAGE = {"Content-Type": "text/html; charset=utf-8"}

FOREIGN: dict[str, tuple[bytes, dict[str, str]]] = {
    "HTML": (b"<html><body>400 The plain HTTP request was sent to HTTPS port</body></html>", PAGE),
    "text": (b"404 page not found\n", {"Content-Type": "text/plain"}),
    "nothing": (b"", {"Content-Type": "text/html"}),
    "a word": (b'"gone"', {"Content-Type": "application/json"}),
    "half": (b'{"detail": "The ho', {"Content-Type": "application/problem+json"}),
}
"""What a gateway, a firewall or a web server answers by itself."""


@each_method
@pytest.mark.parametrize(("body", "headers"), FOREIGN.values(), ids=FOREIGN)
async def test_an_answer_without_the_supplier_s_json_says_nothing(
    service: RawService,
    hotels: HttpSupplier,
    caplog: pytest.LogCaptureFixture,
    method: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    media_type = headers["Content-Type"].partition(";")[0]
    for status in (400, 404, 405, 409, 410, 413, 422):
        caplog.clear()
        service.says(http(status, body, headers | SOON))
        outcome = await call(hotels, method, trip())
        assert (type(outcome), str(outcome), outcome.wait) == (*FAILED, 20.0)
        [line] = [record for record in caplog.records if record.name == "suppliers.over_http"]
        told = f"The hotel supplier answered {status}: 'trip' ({media_type})"
        assert (line.levelname, line.getMessage()) == ("WARNING", told)


@pytest.mark.parametrize("status", [200, 202])
async def test_a_page_that_says_yes_to_a_cancellation_releases_nothing(
    service: RawService, hotels: HttpSupplier, status: int
) -> None:
    service.says(http(status, b"<html>Back soon</html>", PAGE))
    assert await heard(hotels, "DELETE", trip()) == FAILED


async def test_an_empty_yes_to_a_cancellation_releases_nothing(
    service: RawService, hotels: HttpSupplier, caplog: pytest.LogCaptureFixture
) -> None:
    service.says(http(200, headers={"Content-Type": "text/plain"}))
    assert await heard(hotels, "DELETE", trip()) == FAILED
    assert "200 text/plain" in caplog.text


BROKEN: dict[str, Any] = {
    "half": b'{"state": "confirmed", "item": "a-h',
    "HTML": b"<html><body>Please log in</body></html>",
    "3 MB of HTML": b"<html>" * 500_000,
    "more than 64 KiB": CONFIRMED | CANCELLED | {"note": "x" * 64 * 1024},
    "a list": [CONFIRMED],
    "null": None,
    "no state": {"item": "a-hotel", "reference": "QK7R2M"},
    "maybe": CONFIRMED | {"state": "maybe"},
    "another item": CONFIRMED | {"item": "another-hotel"},
    "another item, pending": PENDING | {"item": "another-hotel"},
    "no item": {"state": "confirmed", "reference": "QK7R2M"},
    "no reference": {"state": "confirmed", "item": "a-hotel"},
    "a long reference": CONFIRMED | {"reference": "x" * 201},
    "a reference that no database keeps": CONFIRMED | {"reference": "QK7\x00R2M"},
    "an empty reference": CONFIRMED | {"reference": ""},
    "a blank reference": CONFIRMED | {"reference": " \u2003\t"},
    "a reference that nobody sees": CONFIRMED | {"reference": "\u200b"},
    "a reference that turns round": CONFIRMED | {"reference": "QK7\u202eM2R"},
    "compressed": gzip.compress(b'{"state": "cancelled"}'),
    "deeply nested": b"[" * 60_000,
}


@each_method
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_what_breaks_the_contract_is_an_unknown_outcome(
    service: RawService,
    hotels: HttpSupplier,
    caplog: pytest.LogCaptureFixture,
    method: str,
    body: Any,
) -> None:
    service.says(http(200, body, {"Content-Encoding": "gzip"} if body == GZIPPED else None))
    outcome = await call(hotels, method, trip())
    is_another = isinstance(body, dict) and body.get("item") == "another-hotel"
    unknown = AnotherItem if is_another else OutcomeUnknown
    assert (type(outcome), str(outcome)) == (unknown, "The hotel supplier failed")
    [line] = [record for record in caplog.records if record.name == "suppliers.over_http"]
    assert line.levelname == "ERROR"
    assert "hotel supplier broke the contract with 'trip': " in line.getMessage()
    assert len(line.getMessage()) < 200


GZIPPED = BROKEN["compressed"]

OK = http(200, CONFIRMED).raw
HEAD = b"HTTP/1.1 200 OK\r\n"

CUT: dict[str, Answer] = {
    "closed without a word": Answer(b"", "close"),
    "reset without a word": Answer(b"", "reset"),
    "closed in the body": Answer(OK[:-5], "close"),
    "reset in the body": Answer(OK[:-5], "reset"),
    "no last chunk": Answer(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "close"),
    "no HTTP": Answer(b"SSH-2.0-OpenSSH_9.6\r\n", "close"),
    "an echo of what it was sent": Answer(f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()),
    "a huge header": Answer(HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n", "close"),
    "a header of no name": Answer(HEAD + b": " + TOKEN.encode() + b"\r\n\r\n", "close"),
    "two lengths": Answer(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "close"),
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_line_that_is_cut_or_speaks_no_http_is_an_unknown_outcome(
    service: RawService,
    hotels: HttpSupplier,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
) -> None:
    service.says(answer)
    assert await heard(hotels, "PUT", trip()) == FAILED
    assert "The hotel supplier broke the contract with 'trip': " in caplog.text
    assert len(service.requests) == 1


@pytest.mark.parametrize("media_type", ["", 'a/b; c="d', "\xe9\xff"])
async def test_a_media_type_may_be_any_nonsense(
    service: RawService, hotels: HttpSupplier, media_type: str
) -> None:
    nonsense = {"Content-Type": media_type}
    service.says(
        http(200, CONFIRMED, nonsense), http(422, FULL, nonsense), http(404, b"", nonsense)
    )
    assert await call(hotels, "GET", trip()) == HELD
    assert isinstance(await call(hotels, "PUT", trip()), Refused)
    assert await heard(hotels, "PUT", trip()) == FAILED
