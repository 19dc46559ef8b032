"""Waiting for trips to end."""

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from bookings.asking import asking_temporal
from bookings.attention import AttentionWatch
from bookings.errors import BookingNotFound, TemporalUnavailable
from bookings.looking_up import LookingUp
from record import Record
from shared import SagaPolicy

RESULT_RETRY_INTERVAL = 0.5
"""Seconds between two questions for a result while Temporal is away."""
GONE_INTERVAL = 1.0
"""Seconds between two questions whether the one who waits has gone."""

Gone = Callable[[], bool]
"""Tells whether the one who waits has gone."""


class Waiting(LookingUp):
    """Waits for the workflows of trips, until the process stops."""

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        super().__init__(client, record, policy)
        self._waits: set[asyncio.Task[None]] = set()
        self._stopping = False
        # A future belongs to one event loop. The server has one for all requests, but Flask's own
        # way, and so its test client, is a loop for each.
        self._watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AttentionWatch] = (
            weakref.WeakKeyDictionary()
        )

    async def wait_for_end(
        self, workflow_id: str, seconds: float, gone: Gone | None = None
    ) -> None:
        """Wait for a trip's workflow to end, `seconds` at the most.

        An outage of Temporal does not end the wait, as it does not end the trip; that `gone` says
        so does. Raises `TemporalRefuses`.
        """
        await self._wait(workflow_id, seconds, gone)

    async def wait_unless_stuck(
        self, user_id: str, workflow_id: str, seconds: float, gone: Gone | None = None
    ) -> None:
        """Wait as `wait_for_end` does, but no longer than until the trip needs attention."""
        watch = self._watches.setdefault(
            asyncio.get_running_loop(), AttentionWatch(self._record.which_need_attention)
        )
        with watch.watching(user_id) as seen:
            await self._wait(workflow_id, seconds, gone, [seen])

    def stop_waiting(self) -> None:
        """End all waits now, and the later ones at once: the process is about to stop."""
        self._stopping = True
        for wait in list(self._waits):
            wait.cancel()

    async def _wait(
        self,
        workflow_id: str,
        seconds: float,
        gone: Gone | None,
        ends: Iterable[asyncio.Future[None]] = (),
    ) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (0 if self._stopping else seconds)
        wait = asyncio.create_task(self._until_closed(workflow_id))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        awaited: set[asyncio.Future[Any]] = {wait, *ends}
        try:
            over = False
            while not over:
                left = max(0, deadline - loop.time())
                done, _ = await asyncio.wait(
                    awaited,
                    timeout=min(left, GONE_INTERVAL) if gone else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                over = bool(done) or loop.time() >= deadline or (gone is not None and gone())
            if wait.done() and not wait.cancelled():
                wait.result()
        finally:
            wait.cancel()

    async def _until_closed(self, workflow_id: str) -> None:
        handle = self.handle(workflow_id)
        while True:
            try:
                with asking_temporal():
                    await handle.result()
            except (WorkflowFailureError, BookingNotFound):
                return
            except TemporalUnavailable:
                await asyncio.sleep(RESULT_RETRY_INTERVAL)
            else:
                return
