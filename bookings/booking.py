"""Booking a trip: starting it, and telling what has become of it."""

import asyncio

from bookings.asking import asking_temporal
from bookings.errors import TemporalUnavailable
from bookings.starting import Starting
from bookings.temporal import RPC_TIMEOUT
from bookings.trips import CANCELLED, OPEN, Outcome
from bookings.waiting import Gone, Waiting
from shared import TripStatus, cancellation_id


class Booking(Starting, Waiting):
    """Books trips, each once however often it is asked for."""

    async def book(
        self,
        user_id: str,
        request: dict[str, str],
        owner: str,
        seconds: float,
        gone: Gone | None = None,
    ) -> Outcome | TripStatus:
        """Start the trip, unless the same one was started already, and return its outcome.

        While it has none, return its status instead: after `seconds`, or once it needs attention
        or the caller has `gone`. Raises as `start` does.
        """
        new = await self.start(user_id, request, owner)
        if new and not seconds:
            return "running"
        deadline = asyncio.get_running_loop().time() + seconds
        told = await self._told(user_id, deadline, gone) or "running"
        if not isinstance(told, Outcome) or not told.stopped:
            return told
        # Nothing but a cancellation can end what was stopped from outside.
        undone = await self._told(cancellation_id(user_id), deadline, gone) or "needs_attention"
        if not isinstance(undone, Outcome):
            return undone
        return "needs_attention" if undone.stopped else Outcome(None, CANCELLED)

    async def _told(
        self, workflow_id: str, deadline: float, gone: Gone | None
    ) -> Outcome | TripStatus | None:
        """Return the outcome of a workflow, or after the wait its status; `None`: there is none."""
        left = deadline - asyncio.get_running_loop().time()
        if left > 0:
            outcome = await self.outcome_unless_stuck(workflow_id, left, gone)
            # One that was stopped may have been reset, and go on in another run.
            if outcome is not None and not outcome.stopped:
                return outcome
        if self._stopping:
            return "running"
        try:
            with asking_temporal():
                description = await self.describe(workflow_id)
                if description is None:
                    return None
                status = await self.status(description)
        except TemporalUnavailable:
            # It was there a moment ago, and an outage does not end it.
            return "running"
        if description.close_time is None and status in OPEN:
            return status
        # It is over, so there is nothing to wait for but the answer.
        return await self.outcome(workflow_id, RPC_TIMEOUT.total_seconds()) or "running"
