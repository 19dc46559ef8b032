"""Watches in the record the trips that requests wait for, by one question for all of them.

A wait at Temporal for a workflow's end does not see that a trip needs attention: its workflow stays
open until an operator acts. And there may be more waits than Temporal allows a namespace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

from record import RecordedTrip, RecordError

INTERVAL = 0.5
"""Seconds between two rounds."""

Seen = asyncio.Future[None]
IsOver = Callable[[RecordedTrip], bool]
"""Tells by a trip's row whether a wait for it is over."""


class RecordWatch:
    """Watches for the waits of one event loop, for as long as there are any.

    `not_just_running` takes the ids of trips and returns the rows of those whose waits may be over.
    """

    def __init__(
        self, not_just_running: Callable[[Collection[str]], Awaitable[list[RecordedTrip]]]
    ) -> None:
        self._not_just_running = not_just_running
        self._waits: dict[Seen, tuple[str, IsOver]] = {}
        self._rounds: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, user_id: str, is_over: IsOver) -> Iterator[Seen]:
        """Yield a future that is done once `is_over` says so of the trip's row."""
        loop = asyncio.get_running_loop()
        seen: Seen = loop.create_future()
        self._waits[seen] = user_id, is_over
        if self._rounds is None or self._rounds.done():
            self._rounds = loop.create_task(self._look_in_rounds())
        try:
            yield seen
        finally:
            del self._waits[seen]
            seen.cancel()
            if not self._waits and self._rounds is not None:
                self._rounds.cancel()
                # The loop ends the task later; a wait that comes before that needs a new one.
                self._rounds = None

    async def _look_in_rounds(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            waits = dict(self._waits)
            try:
                rows = await self._not_just_running({user_id for user_id, _ in waits.values()})
            except RecordError:
                continue  # The waits go on: an outage of the record does not end them.
            found = {row.trip_id: row for row in rows}
            for seen, (user_id, is_over) in waits.items():
                row = found.get(user_id)
                if row is not None and not seen.done() and is_over(row):
                    seen.set_result(None)
