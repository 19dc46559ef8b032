"""Wrong keys are slowed. They are logged, as is who decodes, and fill no disk."""

import functools
import logging
from collections.abc import Callable
from unittest.mock import MagicMock

import pytest

from api.rate import LINES, WRONG_KEYS
from tests.api.api_client import Api, assert_problem
from tests.api.stand_in import StandIn, app_over
from tests.api.test_access import DESK, KEYS, OLD, OTHER, bearer
from tests.api.test_codec import KEYS as PAYLOAD_KEYS
from tests.api.test_codec import ask

LOGGER = "api.access"


@pytest.fixture
def api(bookings: StandIn) -> Api:
    app = app_over(bookings, api_keys=KEYS, payload_keys=PAYLOAD_KEYS)
    # With cookies of its own the client would send no other.
    return Api(app.test_client(use_cookies=False))


@pytest.fixture(autouse=True)
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What is to be called when a minute is over, which here is never so by itself."""
    begun: list[Callable[[], object]] = []

    def timer(_: float, call: Callable[..., object], args: list[object]) -> MagicMock:
        begun.append(functools.partial(call, *args))
        return MagicMock()

    monkeypatch.setattr("api.rate.Timer", timer)
    return begun


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def of(address: str) -> dict[str, str]:
    return {"REMOTE_ADDR": address}


async def status_of(api: Api, key: str, address: str, path: str = "/bookings") -> int:
    return (await api.get(path, headers=bearer(key), environ_base=of(address))).status_code


async def test_an_address_with_ten_wrong_keys_in_a_minute_waits_and_no_other(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.time", lambda: now)
    for number in range(WRONG_KEYS):
        assert await status_of(api, f"wrong-{number}", "192.0.2.1") == 401
    refused = await api.get("/bookings", headers=bearer("wrong"), environ_base=of("192.0.2.1"))
    assert_problem(refused, 429)
    assert refused.headers["Retry-After"] == "60"
    assert await status_of(api, "wrong", "192.0.2.2") == 401
    now += 61
    assert await status_of(api, "wrong", "192.0.2.1") == 401


async def test_a_good_key_works_from_an_address_that_sends_wrong_ones(api: Api) -> None:
    """A proxy's address is that of all its callers."""
    for _ in range(WRONG_KEYS + 5):
        last = await status_of(api, "wrong", "192.0.2.1")
    assert last == 429
    assert await status_of(api, OLD, "192.0.2.1") == 200
    # A request without a key guesses none.
    assert (await api.get("/bookings", environ_base=of("192.0.2.1"))).status_code == 401


async def test_a_header_of_a_client_says_nothing_of_its_address(api: Api) -> None:
    for number in range(WRONG_KEYS):
        told = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
        await api.get("/bookings", headers=bearer("wrong") | told)
    assert (await api.get("/bookings", headers=bearer("wrong"))).status_code == 429


async def test_a_refused_key_is_logged_with_its_address_and_without_the_key(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    guess = "guess-of-a-key-0123456789"
    await status_of(api, guess, "192.0.2.1")
    await status_of(api, OLD, "192.0.2.1")
    await api.get("/bookings", environ_base=of("192.0.2.1"))
    cookie = {"Cookie": f"codec={guess}"}
    await api.call("POST", "/codec/decode", headers=cookie, environ_base=of("192.0.2.2"))
    assert lines(caplog) == [
        "A wrong API key, from 192.0.2.1",
        "A wrong API key, from 192.0.2.2",
    ]
    assert guess not in caplog.text


async def test_a_caller_is_named_that_decodes_or_may_not(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sealed = (await ask(api, "encode", **bearer(DESK))).json
    await ask(api, "decode", sealed, **bearer(DESK))
    await ask(api, "cookie", **bearer(DESK))
    await ask(api, "decode", sealed, **bearer(OTHER))
    await status_of(api, OLD, "127.0.0.1", "/metrics")
    assert lines(caplog) == [
        "Caller desk has the codec encode, from 127.0.0.1",
        "Caller desk has the codec decode, from 127.0.0.1",
        "Caller desk takes a cookie for the codec, from 127.0.0.1",
        "Caller other may not read what is encrypted, from 127.0.0.1",
        "Caller shop may not read the metrics, from 127.0.0.1",
    ]


async def test_guessing_fills_no_disk_and_hides_nothing_else(
    api: Api, caplog: pytest.LogCaptureFixture, minutes: list[Callable[[], object]]
) -> None:
    for number in range(LINES + 30):
        await status_of(api, "wrong", f"192.0.2.{number}")
    assert len(lines(caplog)) == LINES
    await status_of(api, OTHER, "127.0.0.1", "/metrics")
    for minute_is_over in minutes:
        minute_is_over()
    await status_of(api, "wrong", "192.0.2.1")
    assert lines(caplog)[LINES:] == [
        "Caller other may not read the metrics, from 127.0.0.1",
        "30 more lines were left out: wrong API keys",
        "A wrong API key, from 192.0.2.1",
    ]
