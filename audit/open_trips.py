"""Compares what the record says of open trips with Temporal, and mends what differs.

It finds trips that were stopped or deleted from outside, trips that were accepted and never
started, cancellations that were asked for and never begun, and workflows that the record does not
know.
"""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass

from audit.looking import each, unless_odd
from bookings import (
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

SETTLED = dt.timedelta(seconds=10)
"""A younger trip may still be on its way from the one memory to the other."""

BATCH = 500


@dataclass(frozen=True)
class Finding:
    """What the record has learnt about an open trip."""

    user_id: str
    was: str
    now: str
    reason: str | None = None


class OpenTrips:
    """The open trips, as the record and Temporal know them."""

    def __init__(self, record: Record, workflows: TripWorkflows, settling: Settling) -> None:
        self._record = record
        self._workflows = workflows
        self._settling = settling

    async def compare(self) -> list[Finding]:
        """Compare, mend, and return what differed.

        Raises `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        before = dt.datetime.now(dt.UTC) - SETTLED
        running = await self._workflows.running()
        findings: list[Finding] = []
        last = ""
        while rows := await self._record.trips.open_trips(before, last, BATCH):
            last = rows[-1].trip_id
            missing = [row for row in rows if acting_workflow(row) not in running]
            found = await each(self._settle, missing)
            findings += [finding for finding in found if finding is not None]
        return findings + await self._adopt(running)

    async def compare_for_ever(self) -> None:
        """Compare at intervals. An outage is logged, and the next comparison finds what is left."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                for finding in await self.compare():
                    logger.warning(
                        "Audit: trip %s was %s and is %s",
                        finding.user_id,
                        finding.was,
                        finding.now,
                        extra={"trip_id": finding.user_id},
                    )
            except (BookingsError, RecordError) as error:
                logger.warning("No audit: %s", error)
            except Exception:
                logger.exception("The audit failed")

    async def _settle(self, row: RecordedTrip) -> Finding | None:
        """Ask Temporal about a trip; `None`: its workflow has told the record itself."""
        now = await self._settling.settled(row)
        if row.cancelled_at is not None and now.closed_at is None:
            await self._workflows.start_cancellation(row)
        if now.closed_at is None or now.closed_at == now.told_at:
            return None
        return Finding(row.trip_id, row.status, now.status, now.reason)

    async def _adopt(self, running: set[str]) -> list[Finding]:
        """Record the trips that were started by other means and that no worker has taken up yet."""
        bookings = {
            workflow_id
            for workflow_id in running
            if may_be_id(workflow_id) and not cancelled_trip(workflow_id)
        }
        missing = await self._record.trips.missing(bookings)
        adopted = [
            await unless_odd(workflow_id, self._unknown(workflow_id)) for workflow_id in missing
        ]
        return [Finding(row.trip_id, "unknown", row.status) for row in adopted if row is not None]

    async def _unknown(self, workflow_id: str) -> RecordedTrip | None:
        """Record the trip of a workflow, and return its row; `None`: it was recorded already.

        A workflow that somebody has started may have another id than its trip.
        """
        trip = await self._settling.as_temporal_knows(workflow_id)
        if trip is None or await self._record.trips.by_id(trip.trip_id):
            return None
        return await self._record.trips.adopt(trip)
