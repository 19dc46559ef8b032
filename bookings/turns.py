"""Turns: so many at once do what many want to do, and the others wait for theirs.

Of a thousand trips that are started all at once most would not be answered in time, and be asked
for again. Callers alternate, so that none waits behind all of another's.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bookings.errors import TemporalUnavailable
from record import RecordUnavailable

AT_ONCE = 16
"""As many keep Temporal busy, and are each answered in a fraction of the time that they have."""


class Turns:
    """The turns of one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._done = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, by caller: the first of the first caller is the next."""

    @asynccontextmanager
    async def turn(self, caller: str, patience: float) -> AsyncIterator[None]:
        """Wait for a turn, so many seconds at the most, and have it until the end of the block.

        A block fails all who wait if Temporal or the record cannot be asked, and no other block has
        got through meanwhile: they would ask in vain, one after the other. Raises
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
        """Have all who wait now fail with that error."""
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
            # The turn may have come in the very moment in which it was given up.
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
