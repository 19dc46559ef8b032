"""Compares what the record says of open trips with Temporal, and mends what differs.

It finds trips that were stopped or deleted from outside, trips that were accepted and never
started, cancellations that were asked for and never begun or that a reset has forgotten, and
workflows that the record does not know.
"""

import asyncio
import datetime as dt
import logging
import time

from audit.differences import ATTENTION, Difference, Tally, recorded_as
from audit.looking import each, unless_odd
from bookings import (
    NEVER_STARTED,
    BookingsError,
    Settling,
    TripWorkflows,
    acting_workflow,
    may_be_id,
)
from record import Record, RecordedTrip, RecordError
from shared import cancelled_trip

logger = logging.getLogger(__name__)

INTERVAL = 20.0
"""Seconds between two comparisons: the list shows within a minute what they find."""

PAUSE = 10
"""So many times as long as a comparison took, none is begun: of very many open trips it takes a
tenth of the time at most. 10,000 take about 4 s."""

SETTLED = dt.timedelta(seconds=10)
"""A younger trip may still be on its way from the record to Temporal."""

ON_ITS_WAY = dt.timedelta(minutes=1)
"""A younger trip may still be on its way from Temporal to the record."""

BATCH = 500


class OpenTrips:
    """The open trips, as the record and Temporal know them."""

    def __init__(self, record: Record, workflows: TripWorkflows, settling: Settling) -> None:
        self._record = record
        self._workflows = workflows
        self._settling = settling

    async def compare(self, tally: Tally) -> None:
        """Compare and mend, and note what differed.

        Raises `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        before = dt.datetime.now(dt.UTC) - SETTLED
        running = await self._workflows.running()
        last = ""
        while rows := await self._record.trips.open_trips(before, last, BATCH):
            last = rows[-1].trip_id
            missing = [row for row in rows if acting_workflow(row) not in running]
            for found in await each(self._settle, missing):
                tally.note([found] if found else [])
            tally.trips += len(rows)
            tally.seen(len(rows))
        for row in await self._record.trips.still_to_cancel(before):
            await unless_odd(row.trip_id, self._cancel(row))
        await self._adopt_all(running, tally)

    async def compare_for_ever(self) -> None:
        """Compare at intervals. An outage is logged, and the next comparison finds what is left."""
        took = 0.0
        while True:
            await asyncio.sleep(max(INTERVAL, PAUSE * took))
            began = time.monotonic()
            try:
                await self.compare(Tally())
            except (BookingsError, RecordError) as error:
                logger.warning("No audit: %s", error)
            except Exception:
                logger.exception("The audit failed")
            took = time.monotonic() - began

    async def _settle(self, row: RecordedTrip) -> Difference | None:
        """Ask Temporal about a trip; `None`: its workflow has told the record itself."""
        now = await self._settling.settled(row)
        if row.cancelled_at is not None and now.closed_at is None:
            await self._workflows.start_cancellation(row)
        if now.closed_at is None or now.closed_at == now.told_at:
            return None
        if now.status == "needs_attention":
            found = "is open by the record, but its workflow was stopped from outside"
            return Difference(row.trip_id, "stopped", found, ATTENTION)
        recorded = recorded_as(now.status)
        if now.reason == NEVER_STARTED:
            found = "was accepted, but never started"
            return Difference(row.trip_id, "never_started", found, recorded)
        found = "is open by the record, but its workflow has ended"
        return Difference(row.trip_id, "lost_ending", found, recorded)

    async def _cancel(self, row: RecordedTrip) -> None:
        """Cancel a trip again: its workflow was reset, or booked before the request reached it."""
        if row.closed_at is None:
            # It may have the order, and be undone at this moment. Then this changes nothing.
            await self._workflows.cancel(row)
            return
        about = {"trip_id": row.trip_id}
        logger.info("Trip %s was cancelled, and is cancelled again", row.trip_id, extra=about)
        again = await self._record.trips.begin_cancellation(row.trip_id)
        if again.cancelled_at is not None:
            await self._workflows.start_cancellation(again)

    async def _adopt_all(self, running: set[str], tally: Tally) -> None:
        """Record the trips that were started by other means and that no worker has taken up yet."""
        bookings = {
            workflow_id
            for workflow_id in running
            if may_be_id(workflow_id) and not cancelled_trip(workflow_id)
        }
        for workflow_id in await self._record.trips.missing(bookings):
            found = await unless_odd(workflow_id, self._adopt(workflow_id))
            tally.note([found] if found else [])

    async def _adopt(self, workflow_id: str) -> Difference | None:
        """Record the trip of a workflow; `None`: it was recorded already, or has just begun.

        A workflow that somebody has started may have another id than its trip.
        """
        trip = await self._workflows.unrecorded(workflow_id)
        if trip is None or await self._record.trips.by_id(trip.trip_id):
            return None
        row, _ = await self._record.trips.accept(trip)
        if row.accepted_at > dt.datetime.now(dt.UTC) - ON_ITS_WAY:
            return None
        found = "was running, but not recorded"
        return Difference(row.trip_id, "not_recorded", found, "it is recorded now")
