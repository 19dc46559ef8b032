"""Waiting for trips to end.

A wait asks Temporal to say when the workflow has closed (a long poll), which tells it at once.
Temporal limits how many of them a namespace may have, and does not tell that a trip needs
attention. So all waits also ask the record, which tells it a moment later.
"""

import asyncio
import logging
from collections.abc import Callable

from bookings.asking import asking_temporal, is_overload
from bookings.errors import BookingNotFound, TemporalUnavailable
from bookings.loops import PerLoop
from bookings.record_watch import IsOver, RecordWatch, Seen
from bookings.temporal import TripWorkflows
from bookings.trips import acting_workflow
from record import Record, RecordedTrip

logger = logging.getLogger(__name__)

POLL_RETRY_INTERVAL = 0.5
"""Seconds between two long polls while Temporal is away."""
GONE_INTERVAL = 1.0
"""Seconds between two questions whether the client that waits has gone."""

Gone = Callable[[], bool]
"""Tells whether the client that waits has gone."""


class Waits:
    """Waits for the workflows of trips, until the process stops."""

    max_long_polls: int = 300
    """How many waits of this process may hold a long poll. A frontend of Temporal's lets a
    namespace have 1,200 of a kind: of such waits, or of a worker's polls, say."""

    def __init__(self, workflows: TripWorkflows, record: Record) -> None:
        self._workflows = workflows
        self._waits: set[Seen] = set()
        self._polls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._watches = PerLoop(lambda: RecordWatch(record.trips.not_just_running))

    @property
    def long_polls(self) -> int:
        """How many waits hold a long poll now."""
        return len(self._polls)

    async def until_closed(self, row: RecordedTrip, seconds: float, gone: Gone | None) -> None:
        """Wait for the workflow that acts on a trip to end, `seconds` at most.

        The wait goes on while Temporal is away, as the trip does. It ends once the client has
        `gone`.
        """
        workflow_id = acting_workflow(row)

        def is_over(now: RecordedTrip) -> bool:
            return _has_closed(workflow_id, now)

        await self._wait(row.trip_id, workflow_id, is_over, seconds, gone)

    async def unless_stuck(self, row: RecordedTrip, seconds: float, gone: Gone | None) -> None:
        """Wait as `until_closed` does, but no longer than until the trip needs attention."""
        workflow_id = acting_workflow(row)

        def is_over(now: RecordedTrip) -> bool:
            return now.status == "needs_attention" or _has_closed(workflow_id, now)

        await self._wait(row.trip_id, workflow_id, is_over, seconds, gone)

    def stop(self) -> None:
        """End all waits now, and later ones at once: the process is about to stop."""
        self._stopping = True
        for wait in list(self._waits):
            wait.cancel()

    async def _wait(
        self, user_id: str, workflow_id: str, is_over: IsOver, seconds: float, gone: Gone | None
    ) -> None:
        if self._stopping or not seconds:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        polls = len(self._polls) < self.max_long_polls
        with self._watches.here().watching(user_id, is_over) as seen:
            self._waits.add(seen)
            poll = self._begin_poll(workflow_id, seen) if polls else None
            try:
                over = False
                while not over:
                    left = max(0, deadline - loop.time())
                    await asyncio.wait({seen}, timeout=min(left, GONE_INTERVAL) if gone else left)
                    late = loop.time() >= deadline
                    over = seen.done() or late or (gone is not None and gone())
            finally:
                self._waits.discard(seen)
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
        while True:
            try:
                with asking_temporal():
                    await self._workflows.closing(workflow_id)
            except BookingNotFound:
                break
            except TemporalUnavailable as error:
                if is_overload(error):
                    return
                await asyncio.sleep(POLL_RETRY_INTERVAL)
            except Exception:
                logger.exception("Temporal does not tell when %s ends", workflow_id)
                return
            else:
                break
        if not seen.done():
            seen.set_result(None)


def _has_closed(workflow_id: str, row: RecordedTrip) -> bool:
    """Tell whether a workflow has closed, or is about to: it tells the record before it does.

    A workflow that was stopped from outside has told nothing; the audit finds it.
    """
    return row.closed_at is not None or acting_workflow(row) != workflow_id
