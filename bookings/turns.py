"""Turns: a few trips at a time are started, and the others wait for their turn.

If a thousand trips were started at once, Temporal would not answer most of them in time, and their
clients would ask again. Callers alternate, so that no caller waits behind all trips of another.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bookings.errors import TemporalUnavailable
from record import RecordUnavailable

AT_ONCE = 16
"""So many starts keep Temporal busy, and it answers each in a fraction of its time limit."""


class Turns:
    """The turns, for the tasks of one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._done = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """The waits by caller. The first wait of the first caller has the next turn."""

    @asynccontextmanager
    async def turn(self, caller: str, patience: float) -> AsyncIterator[None]:
        """Wait for a turn, `patience` seconds at the most, and keep it until the end of the block.

        A block that cannot ask Temporal or the record fails all waits, unless another block has got
        through meanwhile: all of them would ask in vain, one after the other. Raises
        `TemporalUnavailable` and `RecordUnavailable`.
        """
        await self._begin(caller, patience)
        done = self._done
        try:
            yield
            self._done += 1
        except (TemporalUnavailable, RecordUnavailable) as error:
            if self._done == done:
                self.fail(error)
            raise
        finally:
            self._pass_on()

    def fail(self, error: Exception) -> None:
        """Let all present waits fail with that error."""
        for queue in self._waiting.values():
            for each in queue:
                if not each.done():
                    each.set_exception(error)
        self._waiting.clear()

    async def _begin(self, caller: str, patience: float) -> None:
        if self._free:
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(mine)
        try:
            async with asyncio.timeout(patience):
                await mine
        except BaseException as error:
            # The turn may have come in the very moment in which the wait ended.
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise TemporalUnavailable("Too many trips are being started") from None
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            caller, queue = next(iter(self._waiting.items()))
            del self._waiting[caller]
            mine = queue.popleft()
            if queue:
                self._waiting[caller] = queue  # Behind all others.
            if not mine.done():
                mine.set_result(None)
                return
        self._free += 1
