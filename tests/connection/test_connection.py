"""A worker waits for what is missing, says so once, and works when it is there."""

import asyncio
import logging
import uuid
from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig
from temporalio.service import RPCStatusCode
from temporalio.testing import WorkflowEnvironment

import connection
from connection import CREDENTIALS, connect, lazy_client, refusal
from record import Record
from tests.conftest import trip
from tests.connection.stub_server import CONNECTED, Answer, stub_server
from tests.trips import result_of, start
from tests.workers import running_worker


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRY_INTERVAL", 0.05)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "connection"):
        yield caplog


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "connection"]


async def connecting_until_said(
    address: str, log: pytest.LogCaptureFixture, count: int, namespace: str = "default"
) -> asyncio.Task[Client]:
    """Start to connect, and wait for so many log lines and then for some attempts more."""
    config = ClientConnectConfig(target_host=address, namespace=namespace)
    waiting = asyncio.create_task(connect(config))
    async with asyncio.timeout(20):
        while len(lines(log)) < count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(10 * connection.RETRY_INTERVAL)
    assert not waiting.done()
    return waiting


async def test_a_missing_namespace_is_named_once_and_waited_for(
    environment: WorkflowEnvironment, log: pytest.LogCaptureFixture, record: Record
) -> None:
    address = environment.client.service_client.config.target_host
    namespace = f"travel-{uuid.uuid4().hex}"
    waiting = await connecting_until_said(address, log, 1, namespace=namespace)
    assert lines(log) == [
        f"Waiting: the Temporal namespace '{namespace}' does not exist at {address}"
    ]
    await environment.client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=namespace, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    async with asyncio.timeout(30):
        client = await waiting
    assert lines(log)[1:] == [f"Connected to Temporal at {address}"]
    # A worker that starts now works.
    async with running_worker(client, record):
        booked = await start(client, trip())
        assert (await result_of(booked))["status"] == "success"


@pytest.mark.parametrize(
    "status", [RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED], ids=str
)
@pytest.mark.parametrize("calls_before", [0, 1], ids=["on connecting", "in the namespace"])
async def test_refused_credentials_are_told_once(
    log: pytest.LogCaptureFixture, status: RPCStatusCode, calls_before: int
) -> None:
    # Each attempt to connect is two calls.
    refused = Answer(error=status)
    answers = [refused] if calls_before == 0 else [CONNECTED, refused] * 100
    async with stub_server(answers) as address:
        waiting = await connecting_until_said(address, log, 1)
        assert lines(log) == [f"Waiting: Temporal at {address} {CREDENTIALS}"]
        waiting.cancel()


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        *((f"{what}Certificate", "does not accept") for what in ("Bad", "Revoked", "Unsupported")),
        ("DecryptError", "does not accept the client certificate"),
        ("UnrecognisedName", "knows no such name (TEMPORAL_TLS_SERVER_NAME, TEMPORAL_ADDRESS)"),
        ("NoApplicationProtocol", "does not speak gRPC over TLS there (TEMPORAL_ADDRESS)"),
    ],
)
@pytest.mark.parametrize("text", ["received fatal alert: {}", "AlertReceived({})"])
def test_an_alert_that_few_servers_send_is_named(text: str, alert: str, reason: str) -> None:
    """No such server is part of the tests; the words are rustls's."""
    assert (refusal(text.format(alert)) or "").startswith(reason)
    assert refusal(alert) is None


async def test_a_reason_is_logged_once_and_another_one_too(
    log: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    waiting = await connecting_until_said(f"127.0.0.1:{unused_tcp_port}", log, 1)
    (said,) = lines(log)
    assert said.startswith(f"Waiting for Temporal at 127.0.0.1:{unused_tcp_port}: ")
    waiting.cancel()
    log.clear()
    one, other = [Answer(error=RPCStatusCode.INVALID_ARGUMENT, text=text) for text in "ab"]
    async with stub_server([CONNECTED, one] * 3 + [CONNECTED, other] * 100) as address:
        waiting = await connecting_until_said(address, log, 2)
        assert lines(log) == [f"Waiting for Temporal at {address}: {text}" for text in "ab"]
        waiting.cancel()


async def test_a_lazy_client_is_there_before_temporal_and_connects_on_its_first_call(
    environment: WorkflowEnvironment,
) -> None:
    nowhere = await lazy_client(ClientConnectConfig(target_host="127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="Failed client connect"):
        await nowhere.service_client.check_health()
    address = environment.client.service_client.config.target_host
    client = await lazy_client(ClientConnectConfig(target_host=address))
    assert await client.service_client.check_health()
