"""How a process starts: it waits for what it cannot work without."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 1.0
"""Seconds between two tries."""


async def until_there(
    what: str, use: Callable[[], Awaitable[object]], away: type[Exception]
) -> None:
    """Return once `use` succeeds. While it raises `away`, wait for `what`, and log it."""
    while True:
        try:
            await use()
        except away as error:
            logger.warning("Waiting for %s: %s", what, error.__cause__ or error)
            await asyncio.sleep(RETRY_INTERVAL)
        else:
            return
