"""How a process starts: it waits for what it cannot work without."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

SHORTEST_WAIT, LONGEST_WAIT = 0.25, 4.0
"""Seconds between two tries. The wait doubles with each try."""


async def until_there(
    what: str, use: Callable[[], Awaitable[Result]], away: type[Exception]
) -> Result:
    """Return what `use` returns. While it raises `away`, wait for `what`.

    Each reason to wait is logged once.
    """
    said: set[str] = set()
    wait = SHORTEST_WAIT
    while True:
        try:
            return await use()
        except away as error:
            reason = str(error.__cause__ or error)
        if reason not in said:
            logger.warning("Waiting for %s: %s", what, reason)
            said.add(reason)
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
