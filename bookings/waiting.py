"""Waiting for trips to end.

Who waits asks Temporal to say when the workflow has closed (a long poll), which tells it at once.
Temporal lets a namespace have so many of them, so further ones ask the record instead, a moment
later; and so does everybody after a while, for what Temporal does not tell.
"""

import asyncio
from collections.abc import Callable

from temporalio.client import Client

from bookings.asking import asking_temporal, is_overload
from bookings.errors import BookingNotFound, TemporalUnavailable
from bookings.looking_up import LookingUp
from bookings.loops import PerLoop
from bookings.record_watch import IsOver, RecordWatch, Seen
from bookings.trips import acting_workflow
from record import Record, RecordedTrip
from shared import SagaPolicy

ASKED_LATER = 1.0
"""Seconds after which the record is first asked about a trip whose wait holds a long poll: most are
over by then."""
POLL_RETRY_INTERVAL = 0.5
"""Seconds between two long polls while Temporal is away."""
GONE_INTERVAL = 1.0
"""Seconds between two questions whether the one who waits has gone."""

Gone = Callable[[], bool]
"""Tells whether the one who waits has gone."""


class Waiting(LookingUp):
    """Waits for the workflows of trips, until the process stops."""

    max_long_polls: int = 300
    """How many waits of this process may hold a long poll. A frontend of Temporal's lets a
    namespace have 1,200 of a kind: of such waits, or of a worker's polls, say."""

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        super().__init__(client, record, policy)
        self._waits: set[Seen] = set()
        self._polls: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._watches = PerLoop(lambda: RecordWatch(record.not_just_running))

    @property
    def long_polls(self) -> int:
        """How many waits hold a long poll now."""
        return len(self._polls)

    async def wait_for_end(
        self, user_id: str, workflow_id: str, seconds: float, gone: Gone | None = None
    ) -> None:
        """Wait for a workflow of a trip to end, `seconds` at the most.

        An outage of Temporal does not end the wait, as it does not end the trip; that `gone` says
        so does. Raises `TemporalRefuses`.
        """

        def is_over(row: RecordedTrip) -> bool:
            return _has_closed(workflow_id, row)

        await self._wait(user_id, workflow_id, is_over, seconds, gone)

    async def wait_unless_stuck(
        self, user_id: str, workflow_id: str, seconds: float, gone: Gone | None = None
    ) -> None:
        """Wait as `wait_for_end` does, but no longer than until the trip needs attention."""

        def is_over(row: RecordedTrip) -> bool:
            return row.status == "needs_attention" or _has_closed(workflow_id, row)

        await self._wait(user_id, workflow_id, is_over, seconds, gone)

    def stop_waiting(self) -> None:
        """End all waits now, and the later ones at once: the process is about to stop."""
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
        with self._watches.here().watching(user_id, is_over, ASKED_LATER if polls else 0) as seen:
            self._waits.add(seen)
            poll = self._begin_poll(workflow_id, seen) if polls else None
            try:
                over = False
                while not over:
                    left = max(0, deadline - loop.time())
                    await asyncio.wait({seen}, timeout=min(left, GONE_INTERVAL) if gone else left)
                    late = loop.time() >= deadline
                    over = seen.done() or late or (gone is not None and gone())
                if seen.done() and not seen.cancelled():
                    seen.result()
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
        """Have `seen` done once Temporal tells that the workflow has closed.

        When Temporal has no long poll to spare, it is left to the record.
        """
        try:
            closed = await self._told_to_be_closed(workflow_id)
        except Exception as error:
            # Whatever it is, the one who waits is to know.
            if not seen.done():
                seen.set_exception(error)
        else:
            if closed and not seen.done():
                seen.set_result(None)

    async def _told_to_be_closed(self, workflow_id: str) -> bool:
        """Return whether Temporal told that the workflow has closed; else it has too much to do."""
        while True:
            try:
                with asking_temporal():
                    await self.closing(workflow_id)
            except BookingNotFound:
                return True
            except TemporalUnavailable as error:
                if is_overload(error):
                    return False
                await asyncio.sleep(POLL_RETRY_INTERVAL)
            else:
                return True


def _has_closed(workflow_id: str, row: RecordedTrip) -> bool:
    """Tell whether a workflow has closed, or is about to: it tells the record before it does.

    One that was stopped from outside has told nothing. That is found out by the audit of every API
    process, and by the look-up that follows each wait.
    """
    return row.closed_at is not None or acting_workflow(row) != workflow_id
