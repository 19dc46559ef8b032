"""Waiting for trips to end."""

import asyncio

from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError

from bookings.temporal import TripsInTemporal
from bookings.trips import CANCELLED, STOPPED, Outcome

RESULT_RETRY_INTERVAL = 0.5
"""Seconds between two questions for a result while Temporal is away."""


class Waiting(TripsInTemporal):
    """Waits for the workflows of trips, until the process stops."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._waits: set[asyncio.Task[Outcome]] = set()
        self._stopping = False

    async def outcome(self, workflow_id: str, seconds: float) -> Outcome | None:
        """Wait for a trip's workflow to end, `seconds` at the most; `None`: it goes on.

        An outage of Temporal does not end the wait, as it does not end the trip.
        """
        wait = asyncio.create_task(self._outcome(workflow_id))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        await asyncio.wait({wait}, timeout=0 if self._stopping else seconds)
        if wait.done() and not wait.cancelled():
            return wait.result()
        wait.cancel()
        return None

    def stop_waiting(self) -> None:
        """End all waits now, and the later ones at once: the process is about to stop."""
        self._stopping = True
        for wait in list(self._waits):
            wait.cancel()

    async def _outcome(self, workflow_id: str) -> Outcome:
        handle = self.handle(workflow_id)
        while True:
            try:
                return Outcome(await handle.result())
            except WorkflowFailureError as error:
                cancelled = isinstance(error.cause, CancelledError)
                return Outcome(None, CANCELLED if cancelled else STOPPED)
            except RPCError:
                await asyncio.sleep(RESULT_RETRY_INTERVAL)
