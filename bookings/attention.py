"""Sees which of the trips that somebody waits for need attention, at one question a second.

A wait for a workflow's end does not see it: the workflow stays open until an operator acts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

from record import RecordError

INTERVAL = 1.0
"""Seconds between two rounds, and after which a wait is first looked after: most are over by then.
"""

Seen = asyncio.Future[None]


class AttentionWatch:
    """Looks after the waits of one event loop. It runs for as long as there are any."""

    def __init__(
        self, which_need_attention: Callable[[Collection[str]], Awaitable[set[str]]]
    ) -> None:
        self._which_need_attention = which_need_attention
        self._waits: dict[Seen, tuple[str, float]] = {}
        self._rounds: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, user_id: str) -> Iterator[Seen]:
        """Yield a future that is done once the trip is seen to need attention."""
        loop = asyncio.get_running_loop()
        seen: Seen = loop.create_future()
        self._waits[seen] = (user_id, loop.time() + INTERVAL)
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
            due = {seen: user_id for seen, (user_id, since) in self._waits.items() if since <= now}
            try:
                found = await self._which_need_attention(set(due.values())) if due else set()
            except RecordError:
                continue  # The waits go on; so it is with an outage.
            for seen, user_id in due.items():
                if user_id in found and not seen.done():
                    seen.set_result(None)
