"""Sees which of the trips that somebody waits for need attention, at a bounded cost.

A wait for a workflow's end does not see it: the workflow stays open until an operator acts.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

INTERVAL = 1.0
"""Seconds between two rounds, and after which a wait is first looked after: most are over by then.
"""
TRIPS_A_ROUND = 5
"""The most trips that are looked at in a round. All that are waited for have their turn."""

Seen = asyncio.Future[None]


class AttentionWatch:
    """Looks after the waits of one event loop. It runs for as long as there are any."""

    def __init__(self, needs_attention: Callable[[str], Awaitable[bool]]) -> None:
        self._needs_attention = needs_attention
        self._waits: dict[Seen, tuple[str, float]] = {}
        self._rounds: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, workflow_id: str) -> Iterator[Seen]:
        """Yield a future that is done once the trip is seen to need attention."""
        loop = asyncio.get_running_loop()
        seen: Seen = loop.create_future()
        self._waits[seen] = (workflow_id, loop.time() + INTERVAL)
        if self._rounds is None or self._rounds.done():
            self._rounds = loop.create_task(self._look_in_rounds())
        try:
            yield seen
        finally:
            del self._waits[seen]
            seen.cancel()
            if not self._waits and self._rounds is not None:
                self._rounds.cancel()
                # It is done only when the loop gets to it; who comes before that needs a new one.
                self._rounds = None

    async def _look_in_rounds(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL)
            now = loop.time()
            due = (seen for seen, (_, since) in self._waits.items() if since <= now)
            turn = list(itertools.islice(due, TRIPS_A_ROUND))
            for seen in turn:
                # Those whose turn it is now go to the end of the line.
                self._waits[seen] = self._waits.pop(seen)
            await asyncio.gather(*(self._look(seen, self._waits[seen][0]) for seen in turn))

    async def _look(self, seen: Seen, workflow_id: str) -> None:
        if await self._needs_attention(workflow_id) and not seen.done():
            seen.set_result(None)
