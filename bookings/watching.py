"""Looking at a trip again and again, as a page does that shows it while it moves.

Most looks find what the one before has found. To tell so takes one question of the server, none of
a worker and none of the record: while its workflow runs, nothing befalls a trip without it.
"""

import asyncio
import datetime as dt
import hashlib
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from bookings.asking import asking_temporal
from bookings.callers import Caller
from bookings.looking_up import LookingUp
from bookings.trips import Trip
from record import Record, RecordedTrip
from shared import SagaPolicy

MOST_KEPT = 2_000
"""Of so many trips the row is kept while they are watched."""

TOGETHER_SECONDS = 0.05
"""Looks that come within so long go out together. Each then costs half the CPU that it costs alone:
the threads of the client, of the loop and of the server wake once for all of them."""

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

    def __init__(self, client: Client, record: Record, policy: SagaPolicy) -> None:
        super().__init__(client, record, policy)
        self._kept: dict[str, RecordedTrip] = {}
        """The rows of trips whose workflow ran at the last look."""

    async def look(self, user_id: str, caller: Caller) -> Sight:
        """Return the trip as it stands. Raises as `look_up` does."""
        row = await self.recorded(user_id, caller)
        return await self._sight(row, await self._mark(row))

    async def look_again(self, user_id: str, caller: Caller, seen: str) -> Sight | None:
        """Return the trip as it stands; `None` if nothing has changed since the mark `seen`.

        Raises as `look_up` does.
        """
        await _in_step()
        kept = self._kept.get(user_id)
        if kept is not None and caller.may_see(kept.owner or ""):
            mark = await self._mark(kept)
            if user_id in self._kept and seen in (mark, _stale(mark)):
                return None
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
        self._kept.pop(row.trip_id, None)
        if row.closed_at is None:
            with asking_temporal():
                description = await self.acting(row)
            told += _told_by(description) if description else []
            if description and description.status == WorkflowExecutionStatus.RUNNING:
                self._keep(row)
        return mark_of(told)

    def _keep(self, row: RecordedTrip) -> None:
        self._kept[row.trip_id] = row
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]


async def _in_step() -> None:
    """Wait for the looks that are to go out together."""
    await asyncio.sleep(TOGETHER_SECONDS - asyncio.get_running_loop().time() % TOGETHER_SECONDS)


def mark_of(told: object) -> str:
    """Return a mark by which something that is told can be told from anything else."""
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
