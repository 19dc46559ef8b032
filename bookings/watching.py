"""Looking at a trip again and again, as a page does that shows it while it moves.

Most looks find what the one before has found. To tell so takes one question of the server and none
of a worker.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass

from temporalio.client import WorkflowExecutionDescription

from bookings.asking import asking_temporal
from bookings.callers import Caller
from bookings.looking_up import LookingUp
from bookings.trips import Trip
from record import RecordedTrip

STALE_SECONDS = 5
"""Without a worker to answer, a trip is shown as its history tells it. After so long a worker is
asked again, if nothing has happened meanwhile."""


@dataclass(frozen=True)
class Sight:
    """A trip, and the mark of what was seen of it: by it the next look tells whether it is new."""

    trip: Trip
    mark: str


class Watching(LookingUp):
    """Watches trips."""

    async def look(self, user_id: str, caller: Caller) -> Sight:
        """Return the trip as it stands. Raises as `look_up` does."""
        row = await self.recorded(user_id, caller)
        return await self._sight(row, await self._mark(row))

    async def look_again(self, user_id: str, caller: Caller, seen: str) -> Sight | None:
        """Return the trip as it stands; `None` if nothing has changed since the mark `seen`.

        Raises as `look_up` does.
        """
        row = await self.recorded(user_id, caller)
        mark = await self._mark(row)
        return None if seen in (mark, _stale(mark)) else await self._sight(row, mark)

    async def _sight(self, row: RecordedTrip, mark: str) -> Sight:
        # The mark is older than the look: what changes in between is new to the next one.
        trip = await self.as_it_stands(row)
        return Sight(trip, _stale(mark) if trip.stale else mark)

    async def _mark(self, row: RecordedTrip) -> str:
        """Return what changes whenever the trip does."""
        told: list[object] = [row.status, row.closed_at, row.cancelled_at]
        if row.closed_at is None:
            with asking_temporal():
                description = await self.acting(row)
            told += _told_by(description) if description else []
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _told_by(description: WorkflowExecutionDescription) -> list[object]:
    """Return what of a description changes when the steps do.

    A workflow changes only by an event of its history, and a failed try shows in its activity.
    """
    pending = description.raw_description.pending_activities
    tries = [(activity.activity_id, activity.attempt) for activity in pending]
    return [description.run_id, description.history_length, tries]


def _stale(mark: str) -> str:
    """Return the mark of a stale trip, which is another one after a while."""
    return f"{mark}-{int(dt.datetime.now().timestamp()) // STALE_SECONDS}"
