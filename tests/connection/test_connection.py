"""Temporal is reached, or the reason why it is not is told in words that name a setting."""

import asyncio
import uuid
from functools import partial

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.envconfig import ClientConnectConfig
from temporalio.service import RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from connection import CREDENTIALS, TemporalAway, connect, lazy_client, refusal
from lifecycle import until_there
from record import Record
from tests.conftest import trip
from tests.connection.stub_server import CONNECTED, Answer, stub_server
from tests.trips import result_of, start
from tests.workers import running_worker


async def test_a_missing_namespace_is_named_until_a_worker_works_in_it(
    environment: WorkflowEnvironment, record: Record
) -> None:
    address = environment.client.service_client.config.target_host
    namespace = f"travel-{uuid.uuid4().hex}"
    config = ClientConnectConfig(target_host=address, namespace=namespace)
    with pytest.raises(TemporalAway, match=f"^the namespace '{namespace}' does not exist$"):
        await connect(config)
    await environment.client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=namespace, workflow_execution_retention_period=Duration(seconds=86_400)
        )
    )
    async with asyncio.timeout(30):
        client = await until_there("Temporal", partial(connect, config), TemporalAway)
    # A worker that starts now works.
    async with running_worker(client, record):
        booked = await start(client, trip())
        assert (await result_of(booked))["status"] == "success"


REFUSED = [
    Answer(error=status)
    for status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        *(([refused], f"it {CREDENTIALS}") for refused in REFUSED),
        *(([CONNECTED, refused], f"it {CREDENTIALS}") for refused in REFUSED),
        ([CONNECTED, Answer(error=RPCStatusCode.INVALID_ARGUMENT, text="odd")], "odd"),
    ],
)
async def test_the_reason_is_told_why_temporal_cannot_be_used(
    answers: list[Answer], reason: str
) -> None:
    async with stub_server(answers) as address:
        with pytest.raises(TemporalAway) as told:
            await connect(ClientConnectConfig(target_host=address))
    assert str(told.value) == reason


async def test_a_temporal_that_is_away_is_told_of(unused_tcp_port: int) -> None:
    with pytest.raises(TemporalAway, match="Failed client connect"):
        await connect(ClientConnectConfig(target_host=f"127.0.0.1:{unused_tcp_port}"))


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        ("CertificateRequired", "wants a client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH)"),
        ("CertificateExpired", "says that the client certificate has expired"),
        ("UnknownCA", "does not accept the client certificate"),
        ("RevokedCertificate", "does not accept the client certificate"),
        ("DecryptError", "does not accept the client certificate"),
        ("UnrecognisedName", "knows no such name (TEMPORAL_TLS_SERVER_NAME, TEMPORAL_ADDRESS)"),
        ("NoApplicationProtocol", "does not speak gRPC over TLS there (TEMPORAL_ADDRESS)"),
    ],
)
@pytest.mark.parametrize("text", ["received fatal alert: {}", "AlertReceived({})"])
def test_an_alert_that_few_servers_send_is_named(text: str, alert: str, reason: str) -> None:
    """No such server is part of the tests; the words are rustls's."""
    assert (refusal(text.format(alert)) or "").startswith(reason)


async def test_a_lazy_client_is_there_before_temporal_and_connects_on_its_first_call(
    environment: WorkflowEnvironment,
) -> None:
    nowhere = await lazy_client(ClientConnectConfig(target_host="127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="Failed client connect"):
        await nowhere.service_client.check_health()
    address = environment.client.service_client.config.target_host
    client = await lazy_client(ClientConnectConfig(target_host=address))
    assert await client.service_client.check_health()
