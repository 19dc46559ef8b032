"""The way to Temporal: where it is, how a process connects, and how payloads are encrypted.

This room knows nothing of trips.
"""

import logging
from collections.abc import Sequence

from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConnectConfig
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RetryConfig, RPCError, RPCStatusCode

from connection.config import temporal_config
from connection.encryption import (
    UNENCRYPTED,
    Encryption,
    UnreadablePayload,
    converted_json,
    converter_of,
    encryption_of,
)
from connection.polling import Polls, described_queue, namespace_of
from connection.refusals import CREDENTIALS, refusal, refusal_of

logger = logging.getLogger(__name__)

RPC_RETRY = RetryConfig(max_elapsed_time_millis=2_000)
"""An RPC to Temporal is retried for two seconds. That outlasts a blip, and the API can still answer
503 while its client listens. Callers repeat waits for results themselves."""

COMPRESSION = GrpcCompression.NONE
"""Our messages have a few kB at the most. The SDK's default compression costs 8% of the CPU that a
booking takes, and 10 to 15% of a look-up's."""


class TemporalAway(Exception):
    """Temporal, or the namespace, cannot be used now. The text tells why."""


async def connect(
    config: ClientConnectConfig,
    encryption: Encryption = UNENCRYPTED,
    runtime: Runtime | None = None,
    plugins: Sequence[Plugin] = (),
) -> Client:
    """Return a client that has reached Temporal and the namespace. Raises `TemporalAway`.

    Without a `runtime` the SDK's default one is used.
    """
    try:
        client = await _client(config, encryption, runtime, plugins)
        # The SDK ends a worker whose namespace is not there. A new one is described seconds before
        # the server lets anybody work in it. So this asks as a worker does.
        await described_queue(client)
    except (RPCError, RuntimeError) as error:
        if isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND:
            namespace = config.get("namespace", "default")
            raise TemporalAway(f"the namespace '{namespace}' does not exist") from None
        reason = refusal_of(error)
        raise TemporalAway(f"it {reason}" if reason else str(error)) from None
    logger.info("Connected to Temporal at %s", config["target_host"])
    return client


async def lazy_client(
    config: ClientConnectConfig,
    encryption: Encryption = UNENCRYPTED,
    runtime: Runtime | None = None,
    plugins: Sequence[Plugin] = (),
) -> Client:
    """Return a client that connects on its first call, so the API can serve before Temporal."""
    return await _client(config, encryption, runtime, plugins, lazy=True)


async def _client(
    config: ClientConnectConfig,
    encryption: Encryption,
    runtime: Runtime | None,
    plugins: Sequence[Plugin],
    lazy: bool = False,
) -> Client:
    return await Client.connect(
        **config,
        retry_config=RPC_RETRY,
        grpc_compression=COMPRESSION,
        lazy=lazy,
        runtime=runtime,
        plugins=plugins,
        data_converter=converter_of(encryption),
    )


def warn_if_in_clear(client: object, encryption: Encryption) -> None:
    """Log it if `client` sends in clear what `encryption` would encrypt.

    Somebody else may have made the client. Trips go through all the same, so nobody would notice.
    """
    codec = getattr(getattr(client, "data_converter", None), "payload_codec", None)
    if encryption.encrypts and not (isinstance(codec, Encryption) and codec.encrypts):
        logger.error(
            "PAYLOAD_KEYS is set, but the Temporal client does not encrypt: travellers' names go "
            "to Temporal in clear. Make the client with connection.converter_of"
        )
