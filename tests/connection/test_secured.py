"""API and worker reach a Temporal behind TLS, client certificates and API keys, by its variables.

What is wrong with them is told by name, once, and waited for; it is never called an outage.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from connection import CREDENTIALS, TemporalAway, connect, temporal_config
from shared import KINDS
from tests.connection.secured import API_KEY, NGINX, Door, Secured, secured, shown
from tests.processes import Service, service, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NGINX, reason="needs nginx: apt-get install nginx"),
]

TRIP = {"name": "Jo", "attempts": 5, **{str(kind): f"valid-{kind}" for kind in KINDS}}

CERTIFICATE, KEY = "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"

Variables = Callable[[Secured], dict[str, str]]


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as started:
        started.temporal.start()
        # Each test says by its own variables where Temporal is.
        del started.settings["TEMPORAL_ADDRESS"]
        yield started


@pytest.fixture(scope="module")
def proxy(running: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("secured"), running.temporal_address) as started:
        yield started


def by_profile(proxy: Secured) -> dict[str, str]:
    """Say it all by a profile of a `temporal.toml`."""
    file = proxy.authority.path.with_name("temporal.toml")
    file.write_text(
        f"""
        [profile.elsewhere]
        address = "{proxy.address("client certificate")}"
        namespace = "default"
        [profile.elsewhere.tls]
        server_ca_cert_path = "{proxy.authority.path}"
        client_cert_path = "{proxy.client[0]}"
        client_key_path = "{proxy.client[1]}"
        """
    )
    return {
        "TEMPORAL_CONFIG_FILE": str(file),
        "TEMPORAL_PROFILE": "elsewhere",
    }


WAYS: dict[str, Variables] = {
    "an API key": lambda proxy: {
        "TEMPORAL_ADDRESS": proxy.address("api key"),
        "TEMPORAL_API_KEY": API_KEY,
        **proxy.ca,
    },
    "a profile": by_profile,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_trip_is_booked_by(way: str, running: Service, proxy: Secured) -> None:
    variables = WAYS[way](proxy)
    worker = running.python("worker", "run_worker.py", **variables)
    running.api = running.python("api", "starter.py", **variables)
    worker.start()
    running.api.start()
    try:
        running.wait_until_ready()
        answer = running.request("POST", "/book", TRIP)
        assert (answer.status, answer.body["cancelled"]) == (200, False)
        assert worker.stop() == running.api.stop() == 0
    finally:
        worker.kill()
        running.api.kill()


def test_a_refused_key_is_told_and_waited_for(running: Service, proxy: Secured) -> None:
    variables = WAYS["an API key"](proxy)
    worker = running.python("worker", "run_worker.py", **variables | {"TEMPORAL_API_KEY": "wrong"})
    running.api = running.python("api", "starter.py", **variables | {"TEMPORAL_API_KEY": "wrong"})
    worker.start()
    running.api.start()
    try:
        at = proxy.address("api key")
        worker.wait_for_output(f"Waiting for Temporal at {at}: it {CREDENTIALS}\n")
        running.api.wait_for_output(f"Waiting: Temporal {CREDENTIALS}. (Temporal at ")
        readiness = running.request("GET", "/readyz")
        assert (readiness.status, readiness.body["detail"]) == (503, f"Temporal {CREDENTIALS}.")
        booking = running.request("POST", "/book", TRIP)
        assert (booking.status, booking.body["detail"]) == (500, f"Temporal {CREDENTIALS}.")
        # Whoever keeps the keys may mend it, too: what is waited for comes.
        proxy.start(api_key="wrong")
        worker.wait_for_output("Polling task queue")
        wait_until(lambda: running.status_of("/readyz") == 200, "the API is ready")
        assert worker.output.count(CREDENTIALS) == 1
        assert worker.stop() == running.api.stop() == 0
    finally:
        proxy.start()
        worker.kill()
        running.api.kill()


async def told(variables: dict[str, str], word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect as these variables alone say, until the reason why that fails has this word."""
    monkeypatch.setenv("HOME", "/nonexistent")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    reason = ""
    # A server may close the line before it is heard; what is told first need not be the last.
    async with asyncio.timeout(30):
        while word not in reason:
            with pytest.raises(TemporalAway) as away:
                await connect(temporal_config())
            reason = str(away.value)


REFUSED: dict[str, tuple[Door, Variables, str]] = {
    "no TLS": ("tls", lambda proxy: {}, "TEMPORAL_TLS)"),
    "no authority": (
        "tls",
        lambda proxy: {"TEMPORAL_TLS": "1"},
        "not trusted (TEMPORAL_TLS_SERVER_CA_CERT_PATH)",
    ),
    "another name": (
        "tls",
        lambda proxy: proxy.ca | {"TEMPORAL_TLS_SERVER_NAME": "temporal.example"},
        "for another name (TEMPORAL_TLS_SERVER_NAME)",
    ),
    "their certificate has expired": ("expired", lambda proxy: proxy.ca, "that has expired"),
    "no client certificate": ("client certificate", lambda proxy: proxy.ca, CERTIFICATE),
    "an expired client certificate": (
        "client certificate",
        lambda proxy: proxy.ca | shown(proxy.expired_client),
        CERTIFICATE,
    ),
    "a foreign client certificate": (
        "client certificate",
        lambda proxy: proxy.ca | shown(proxy.foreign_client),
        CERTIFICATE,
    ),
    "the key of another certificate": (
        "client certificate",
        lambda proxy: proxy.ca | shown((proxy.client[0], proxy.foreign_client[1])),
        KEY,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_wrong_is_named(
    what: str, proxy: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, variables, named = REFUSED[what]
    address = {"TEMPORAL_ADDRESS": proxy.address(door)}
    await told(address | variables(proxy), named, monkeypatch)


async def test_a_server_without_tls_is_told_from_one_that_is_away(
    running: Service, proxy: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"TEMPORAL_ADDRESS": running.temporal_address, **proxy.ca}
    await told(variables, "does not speak TLS (TEMPORAL_TLS)", monkeypatch)
