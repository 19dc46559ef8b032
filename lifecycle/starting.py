"""How a process starts: it may open enough files, and waits for what it cannot work without."""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

OPEN_FILES = (32_768, 8_192, 4_096)
"""The first is enough for every process under any setting. Some systems have a bound besides the
hard limit and do not tell it, so smaller numbers are tried, too."""

SHORTEST_WAIT, LONGEST_WAIT = 0.25, 4.0
"""Seconds between two tries. The wait doubles with each try."""


def allow_open_files() -> None:
    """Raise the soft limit of open files; many systems allow 1,024 unless they are asked.

    Nothing is lowered. Where the system refuses, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in OPEN_FILES:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= allowed:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):
            continue
        return


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
