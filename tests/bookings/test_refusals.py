"""An outage is told from what somebody has to mend, in every question and in plain words."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from bookings import Bookings, TemporalRefuses, TemporalUnavailable, TripWorkflows
from connection import CREDENTIALS, lazy_client
from record import Record
from tests.bookings.requests import DESK, JOHN, SHOP, new_id, new_trip
from tests.conftest import IMPATIENT
from tests.connection.stub_server import CONNECTED, Answer, stub_server

NO_NAMESPACE = "The Temporal namespace 'travel' does not exist."
BAD_CREDENTIALS = f"Temporal {CREDENTIALS}."
REFUSED = "Temporal refuses the request; it has been logged."

Question = Callable[[Bookings], Awaitable[object]]
QUESTIONS: dict[str, Question] = {
    "book": lambda asked: asked.book(new_id(), JOHN, SHOP.name, 0),
    "cancel": lambda asked: asked.cancel("running", DESK, 0),
    "cancel what is booked": lambda asked: asked.cancel("booked", DESK, 0),
    "retry": lambda asked: asked.repair("running", "car", DESK),
    "resolve": lambda asked: asked.repair("running", "car", DESK, "By phone"),
}


@pytest.fixture
async def known(record: Record) -> Record:
    """A record with a trip that runs, and one that is booked."""
    await record.trips.accept(new_trip("running"))
    row = new_trip("booked")
    await record.trips.accept(new_trip("booked", status="booked", closed_at=row.accepted_at))
    return record


async def bookings_at(address: str, record: Record, namespace: str = "default") -> Bookings:
    client = await lazy_client({"target_host": address, "namespace": namespace})
    return Bookings(client, record, IMPATIENT)


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_missing_namespace_is_no_outage_and_no_missing_trip(
    client: Client, known: Record, ask: Question
) -> None:
    address = client.service_client.config.target_host
    with pytest.raises(TemporalRefuses, match=NO_NAMESPACE) as refused:
        await ask(await bookings_at(address, known, "travel"))
    assert "Namespace travel is not found" in str(refused.value.__cause__), "The logs have it"


async def test_readiness_tells_the_true_reason(client: Client, record: Record) -> None:
    address = client.service_client.config.target_host
    assert await (await bookings_at(address, record, "travel")).check_ready() == NO_NAMESPACE
    async with stub_server([CONNECTED, Answer(error=RPCStatusCode.PERMISSION_DENIED)]) as address:
        assert await (await bookings_at(address, record)).check_ready() == BAD_CREDENTIALS


REFUSALS = {
    RPCStatusCode.PERMISSION_DENIED: BAD_CREDENTIALS,
    RPCStatusCode.INVALID_ARGUMENT: REFUSED,
}


@pytest.mark.parametrize("status", REFUSALS, ids=lambda status: status.name)
async def test_a_refusal_is_told_in_our_words(status: RPCStatusCode, known: Record) -> None:
    answer = Answer(error=status, text="secret of the server")
    async with stub_server([CONNECTED, answer]) as address:
        with pytest.raises(TemporalRefuses) as refused:
            await QUESTIONS["book"](await bookings_at(address, known))
    assert str(refused.value) == REFUSALS[status]
    assert "secret of the server" in repr(refused.value.__cause__)


@pytest.mark.slow  # The client tries again first, for a second or two.
@pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.INTERNAL])
async def test_what_mends_itself_is_an_outage(status: RPCStatusCode, known: Record) -> None:
    async with stub_server([CONNECTED, Answer(error=status)]) as address:
        with pytest.raises(TemporalUnavailable):
            await QUESTIONS["book"](await bookings_at(address, known))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (RPCStatusCode.UNAUTHENTICATED, TemporalRefuses),
        (RPCStatusCode.UNAVAILABLE, TemporalUnavailable),
    ],
)
async def test_so_it_is_when_the_connection_itself_is_refused(
    status: RPCStatusCode, told: type[Exception], known: Record
) -> None:
    async with stub_server([Answer(error=status)]) as address:
        with pytest.raises(told):
            await QUESTIONS["cancel"](await bookings_at(address, known))


@pytest.mark.parametrize(
    "status", [RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.PERMISSION_DENIED]
)
async def test_what_goes_wrong_after_the_start_leaves_a_trip_that_runs(
    record: Record, status: RPCStatusCode
) -> None:
    started = Answer()
    async with stub_server([CONNECTED, started, Answer(error=status)]) as address:
        asked = await bookings_at(address, record)
        async with asyncio.timeout(20):
            assert (await asked.book(new_id(), JOHN, "shop", 0.2)).status == "running"


async def test_a_question_that_fails_once_is_asked_again(known: Record) -> None:
    """As when one of Temporal's frontends is restarted."""
    described = DescribeWorkflowExecutionResponse()
    described.workflow_execution_info.execution.workflow_id = "running"
    away, answer = Answer(error=RPCStatusCode.UNAVAILABLE), Answer(described.SerializeToString())
    async with stub_server([CONNECTED, away, answer]) as address:
        client = await lazy_client({"target_host": address})
        assert await TripWorkflows(client, IMPATIENT).standing(new_trip("running")) == "running"
