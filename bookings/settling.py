"""What only Temporal knows of open trips: one was stopped from outside, or never started.

The record may also have lost an ending that it was told: it was restored from a backup, say. The
audit asks Temporal, and so does a cancel that finds no open workflow.
"""

import datetime as dt

from bookings.temporal import TripWorkflows, is_open
from bookings.trips import NEVER_STARTED, STOPPED
from record import Record, RecordedTrip
from shared import CANCELLED

START_LIMIT = dt.timedelta(minutes=1)
"""After so long, a trip that was accepted without a key and has no workflow will never have one:
nobody can ask for it again."""


class Settling:
    """Brings into the record what only Temporal knows."""

    def __init__(self, record: Record, workflows: TripWorkflows) -> None:
        self._record = record
        self._workflows = workflows

    async def settled(self, row: RecordedTrip, *, cancelled: bool = False) -> RecordedTrip:
        """Return the row of an open trip, as it is after Temporal was asked about it.

        A trip that was never started and is `cancelled` never will be. Raises
        `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        description = await self._workflows.acting(row)
        if description is None:
            return await self._without_workflow(row, cancelled)
        # A workflow that closes by itself tells the record first.
        now = await self._record.trips.by_id(row.trip_id) or row
        is_told = now.closed_at is not None or now.cancelled_at != row.cancelled_at
        if is_told or is_open(description):
            return now
        status, reason = await self._workflows.ending(description) or ("needs_attention", STOPPED)
        return await self._record.trips.found(now, status, reason)

    async def _without_workflow(self, row: RecordedTrip, cancelled: bool) -> RecordedTrip:
        if row.cancelled_at is not None:
            return row  # Its cancellation is about to be started; the audit sees to it.
        if row.first_run_id is not None:
            return await self._record.trips.found(row, "needs_attention", STOPPED)
        if cancelled:
            return await self._record.trips.found(row, "cancelled", CANCELLED)
        patience = START_LIMIT
        if row.key_fingerprint is not None:
            patience = dt.timedelta(seconds=self._workflows.policy.trip_deadline)
        if dt.datetime.now(dt.UTC) < row.accepted_at + patience:
            return row
        return await self._record.trips.found(row, "rolled_back", NEVER_STARTED)
