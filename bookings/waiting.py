"""Waiting for trips to end.

A wait asks Temporal to say when the workflow has closed (a long poll), which tells it at once.
Temporal limits how many of them a namespace may have, and does not tell that a trip needs
attention: its workflow stays open. So all waits also ask the record, by one question for all of
them, which tells it a moment later.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator

from bookings.errors import BookingNotFound, TemporalUnavailable, is_overload
from bookings.temporal import TripWorkflows
from bookings.trips import acting_workflow
from record import Record, RecordedTrip, RecordError

logger = logging.getLogger(__name__)

RECORD_INTERVAL = 0.5
"""Seconds between two questions to the record."""
POLL_RETRY_INTERVAL = 0.5
"""Seconds between two long polls while Temporal is away."""
GONE_INTERVAL = 1.0
"""Seconds between two questions whether the client that waits has gone."""

Gone = Callable[[], bool]
"""Tells whether the client that waits has gone."""
Seen = asyncio.Future[None]
IsOver = Callable[[RecordedTrip], bool]
"""Tells by a trip's row whether a wait for it is over."""


class Waits:
    """Waits for the workflows of trips, until the process stops."""

    max_long_polls: int = 300
    """How many waits of this process may hold a long poll. A frontend of Temporal's lets a
    namespace have 1,200 of a kind: of such waits, or of a worker's polls, say."""

    def __init__(self, workflows: TripWorkflows, record: Record) -> None:
        self._workflows = workflows
        self._polls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._watch = RecordWatch(record.trips.not_just_running)

    @property
    def long_polls(self) -> int:
        """How many waits hold a long poll now."""
        return len(self._polls)

    async def until_closed(self, row: RecordedTrip, seconds: float, gone: Gone | None) -> None:
        """Wait for the workflow that acts on a trip to hold it or to end, `seconds` at most.

        The wait goes on while Temporal is away, as the trip does. It ends once the client has
        `gone`.
        """
        await self._wait(row, lambda now: _has_come_to_rest(row, now), seconds, gone)

    async def unless_stuck(self, row: RecordedTrip, seconds: float, gone: Gone | None) -> None:
        """Wait as `until_closed` does, but no longer than until the trip needs attention."""

        def is_over(now: RecordedTrip) -> bool:
            return now.status == "needs_attention" or _has_come_to_rest(row, now)

        await self._wait(row, is_over, seconds, gone)

    def stop(self) -> None:
        """End all waits now, and later ones at once: the process is about to stop."""
        self._stopping = True
        self._watch.stop()

    async def _wait(
        self, row: RecordedTrip, is_over: IsOver, seconds: float, gone: Gone | None
    ) -> None:
        if self._stopping or not seconds:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        polls = len(self._polls) < self.max_long_polls
        with self._watch.watching(row.trip_id, is_over) as seen:
            poll = self._begin_poll(acting_workflow(row), seen) if polls else None
            try:
                over = False
                while not over:
                    left = max(0, deadline - loop.time())
                    await asyncio.wait({seen}, timeout=min(left, GONE_INTERVAL) if gone else left)
                    late = loop.time() >= deadline
                    over = seen.done() or late or (gone is not None and gone())
            finally:
                if poll is not None:
                    poll.cancel()

    def _begin_poll(self, workflow_id: str, seen: Seen) -> asyncio.Task[None]:
        poll = asyncio.create_task(self._poll(workflow_id, seen))
        self._polls.add(poll)
        poll.add_done_callback(self._polls.discard)
        return poll

    async def _poll(self, workflow_id: str, seen: Seen) -> None:
        """Set `seen` once Temporal tells that the workflow has closed.

        When Temporal has no long poll to spare, or refuses it, only the record tells.
        """
        while not seen.done():
            try:
                with contextlib.suppress(BookingNotFound):
                    await self._workflows.closing(workflow_id)
                if not seen.done():
                    seen.set_result(None)
            except TemporalUnavailable as error:
                if is_overload(error):
                    return
                await asyncio.sleep(POLL_RETRY_INTERVAL)
            except Exception:
                logger.exception("Temporal does not tell when %s ends", workflow_id)
                return


def _has_come_to_rest(row: RecordedTrip, now: RecordedTrip) -> bool:
    """Tell whether the workflow that acted on `row` holds it now, has closed, or is about to.

    It tells the record before it does. One that was stopped from outside has told nothing; the
    audit finds it.
    """
    is_held = now.status == "held" != row.status
    return is_held or now.closed_at is not None or acting_workflow(now) != acting_workflow(row)


class RecordWatch:
    """Watches for waits, for as long as there are any.

    `not_just_running` takes the ids of trips and returns the rows of those whose waits may be over.
    """

    def __init__(
        self, not_just_running: Callable[[Collection[str]], Awaitable[list[RecordedTrip]]]
    ) -> None:
        self._not_just_running = not_just_running
        self._waits: dict[Seen, tuple[str, IsOver]] = {}
        self._rounds: asyncio.Task[None] | None = None

    @contextlib.contextmanager
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

    def stop(self) -> None:
        """End all present waits."""
        for seen in list(self._waits):
            seen.cancel()

    async def _look_in_rounds(self) -> None:
        await asyncio.sleep(RECORD_INTERVAL)
        while waits := dict(self._waits):
            try:
                rows = await self._not_just_running({user_id for user_id, _ in waits.values()})
            except RecordError:
                rows = []  # The waits go on: an outage of the record does not end them.
            found = {row.trip_id: row for row in rows}
            for seen, (user_id, is_over) in waits.items():
                row = found.get(user_id)
                if row is not None and not seen.done() and is_over(row):
                    seen.set_result(None)
            await asyncio.sleep(RECORD_INTERVAL)
