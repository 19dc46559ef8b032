"""An outage is told from what somebody has to mend, in every question and in plain words."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from bookings import Bookings
from bookings.asking import MENDS_ITSELF
from connection import CREDENTIALS, lazy_client
from record import Record
from tests.api.api_client import JOHN, Api, api_of, assert_problem
from tests.conftest import IMPATIENT
from tests.connection.stub_server import CONNECTED, Answer, stub_server

NO_NAMESPACE = "The Temporal namespace 'travel' does not exist."
BAD_CREDENTIALS = f"Temporal {CREDENTIALS}."
REFUSED = "Temporal refuses the request; it has been logged."

QUESTIONS = [
    ("POST", "/book"),
    ("GET", "/bookings/some-trip"),
    ("GET", "/bookings/some-trip?wait=1"),
    ("POST", "/bookings/some-trip/cancel"),
    ("POST", "/bookings/some-trip/undo/car/retry"),
]


async def ask(api: Api, method: str, path: str) -> tuple[int, str, bool]:
    """Return the status of a problem, its detail, and whether it is to be tried again."""
    body = {"json": JOHN} if path == "/book" else {}
    response = await api.call(method, path, **body)
    assert_problem(response, response.status_code)
    assert response.json is not None
    return response.status_code, response.json["detail"], "Retry-After" in response.headers


@pytest.fixture
async def elsewhere(client: Client) -> AsyncIterator[Api]:
    """The API of a namespace that is not there."""
    address = client.service_client.config.target_host
    yield api_of(await lazy_client({"target_host": address, "namespace": "travel"}))


async def api_at(address: str) -> Api:
    return api_of(await lazy_client({"target_host": address}))


@pytest.mark.parametrize(("method", "path"), QUESTIONS)
async def test_a_missing_namespace_is_no_outage_and_no_missing_trip(
    elsewhere: Api, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    assert await ask(elsewhere, method, path) == (500, NO_NAMESPACE, False)
    (logged,) = [record for record in caplog.records if record.name == "api.translating"]
    assert logged.levelno == logging.ERROR
    assert "Namespace travel is not found" in logged.getMessage()


async def test_readiness_tells_the_true_reason(elsewhere: Api) -> None:
    assert await ask(elsewhere, "GET", "/readyz") == (503, NO_NAMESPACE, True)
    async with stub_server([CONNECTED, Answer(error=RPCStatusCode.PERMISSION_DENIED)]) as address:
        api = await api_at(address)
        assert await ask(api, "GET", "/readyz") == (503, BAD_CREDENTIALS, True)


REFUSALS = {
    RPCStatusCode.PERMISSION_DENIED: BAD_CREDENTIALS,
    RPCStatusCode.UNAUTHENTICATED: BAD_CREDENTIALS,
    RPCStatusCode.INVALID_ARGUMENT: REFUSED,
    RPCStatusCode.FAILED_PRECONDITION: REFUSED,
    RPCStatusCode.UNIMPLEMENTED: REFUSED,
    RPCStatusCode.OUT_OF_RANGE: REFUSED,
}


@pytest.mark.parametrize("status", REFUSALS, ids=lambda status: status.name)
async def test_a_refusal_is_a_500_in_our_words(
    status: RPCStatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Answer(error=status, text="secret of the server")
    async with stub_server([CONNECTED, answer]) as address:
        api = await api_at(address)
        assert await ask(api, "POST", "/book") == (500, REFUSALS[status], False)
    assert "secret of the server" in caplog.text, "The log has it"


@pytest.mark.parametrize(
    "status",
    [
        RPCStatusCode.UNAVAILABLE,
        # All go the same way. The client tries most of them again first, for a second or two.
        *(
            pytest.param(status, marks=pytest.mark.slow)
            for status in sorted(MENDS_ITSELF - {RPCStatusCode.UNAVAILABLE})
        ),
    ],
    ids=lambda status: status.name,
)
async def test_what_mends_itself_is_503(status: RPCStatusCode) -> None:
    async with stub_server([CONNECTED, Answer(error=status)]) as address:
        api = await api_at(address)
        detail = "Temporal cannot be reached; try again."
        assert await ask(api, "POST", "/book") == (503, detail, True)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (RPCStatusCode.UNAUTHENTICATED, (500, BAD_CREDENTIALS, False)),
        (RPCStatusCode.PERMISSION_DENIED, (500, BAD_CREDENTIALS, False)),
        (RPCStatusCode.UNAVAILABLE, (503, "Temporal cannot be reached; try again.", True)),
    ],
)
async def test_so_it_is_when_the_connection_itself_is_refused(
    status: RPCStatusCode, told: tuple[int, str, bool]
) -> None:
    async with stub_server([Answer(error=status)]) as address:
        assert await ask(await api_at(address), "GET", "/bookings/some-trip") == told


async def test_an_outage_after_the_start_leaves_a_trip_that_runs(record: Record) -> None:
    started, away = Answer(), Answer(error=RPCStatusCode.DEADLINE_EXCEEDED)
    async with stub_server([CONNECTED, started, away]) as address:
        asked = Bookings(await lazy_client({"target_host": address}), record, IMPATIENT)
        assert (await asked.book("some-trip", JOHN, "shop", 0.2)).status == "running"


async def test_a_refusal_ends_a_wait() -> None:
    started = Answer()
    refused = Answer(error=RPCStatusCode.PERMISSION_DENIED)
    async with stub_server([CONNECTED, started, refused]) as address:
        api = await api_at(address)
        async with asyncio.timeout(15):  # Half of what the API would wait for the trip.
            assert await ask(api, "POST", "/book") == (500, BAD_CREDENTIALS, False)
