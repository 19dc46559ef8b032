"""The way to Temporal: how a process connects, and how long it waits for that.

It knows nothing of trips. Where Temporal is stands in `settings.py`.
"""

import asyncio
import logging

from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig
from temporalio.service import RetryConfig

__all__ = ["connect", "lazy_client"]

logger = logging.getLogger(__name__)

RPC_RETRY = RetryConfig(max_elapsed_time_millis=2_000)
"""An RPC to Temporal is retried for two seconds: long enough for a blip, short enough for a 503
while the caller still listens. Waits for results are repeated by their callers."""


async def connect(config: ClientConnectConfig) -> Client:
    """Connect to Temporal, waiting for as long as it is not there."""
    while True:
        try:
            client = await Client.connect(**config, retry_config=RPC_RETRY)
        except RuntimeError as error:
            logger.warning("Waiting for Temporal at %s: %s", config["target_host"], error)
            await asyncio.sleep(1)
        else:
            logger.info("Connected to Temporal at %s", config["target_host"])
            return client


async def lazy_client(config: ClientConnectConfig) -> Client:
    """Return a client that connects on its first call, so the API can serve before Temporal."""
    return await Client.connect(**config, retry_config=RPC_RETRY, lazy=True)
