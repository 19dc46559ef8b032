"""The audit itself: it goes through the trips page by page, and says, mends and marks.

The worker runs it at intervals, and a command at once. It may be cut off and begin again at any
time, and two audits may run at once.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from temporalio.client import Client

from audit import open_trips
from audit.differences import DIFFERENCES, Difference, Tally
from audit.looking import Looking, each
from audit.mending import Mending
from bookings import BookingsError, Settling, TripWorkflows
from record import Audit, Event, Record, RecordedTrip, RecordError
from shared import KINDS, Kind, SagaPolicy, TripStatus
from suppliers import Desks

logger = logging.getLogger(__name__)

OVERLAP = dt.timedelta(hours=1)
"""An audit compares again what ended so shortly before the last audit began: a worker that was cut
off may tell of an ending late, and a supplier may show a booking later than it says."""

FIRST = dt.timedelta(days=7)
"""The first audit goes back so far. A supplier may have forgotten what has long been over."""

PAGE = 200
"""Trips on a page."""

UNDELIVERED_FOR = 3_600.0
"""Seconds after which an event that is not delivered is told."""

HELD_TOO_LONG = 60.0
"""Seconds after which a trip that should have expired is told."""

CHECK_INTERVAL = 20.0
"""Seconds between two looks whether an audit is due."""


class Auditor:
    """An audit in pages. It keeps nothing between two of them."""

    def __init__(
        self,
        client: Client,
        record: Record,
        desks: Desks,
        policy: SagaPolicy,
        rates: Mapping[Kind, float | None],
    ) -> None:
        """`policy` is that of new trips; `rates`: the calls in a second that suppliers take."""
        self._record = record
        self._workflows = TripWorkflows(client, policy)
        self._settling = Settling(record, self._workflows)
        self.open_trips = open_trips.OpenTrips(record, self._workflows, self._settling)
        self._looking = Looking(self._workflows, record, desks, rates)
        self._mending = Mending(self._workflows, record, desks)

    async def audit(self, tally: Tally, *, everything: bool) -> None:
        """Audit now: every trip, or those that have changed since the last audit.

        Raises `BookingsError` when Temporal cannot be asked, and `RecordError`.
        """
        begun = await self._record.audits.begin(OVERLAP, FIRST, everything=everything)
        await self._run(begun, tally)

    async def audit_for_ever(self, interval: float) -> None:
        """Audit whenever no worker has begun an audit for `interval` seconds.

        An audit that fails half way is done again from its beginning.
        """
        due: Audit | None = None
        while True:
            await asyncio.sleep(min(interval, CHECK_INTERVAL))
            try:
                audits, every = self._record.audits, dt.timedelta(seconds=interval)
                due = due or await audits.begin_if_due(OVERLAP, FIRST, every)
                if due is not None:
                    await self._run(due, Tally())
                    due = None
            except (BookingsError, RecordError) as error:
                logger.warning("The audit waits: %s", error)
            except Exception:
                logger.exception("The audit failed")

    async def _run(self, audit: Audit, tally: Tally) -> None:
        audits = self._record.audits
        await self.open_trips.compare(tally)
        last = ""
        while rows := await audits.marked_trips(last, PAGE):
            await each(partial(self._take_mark_back, tally), rows)
            last = rows[-1].trip_id
        after = None
        while rows := await audits.ended_trips(audit.since, audit.began_at, after, PAGE):
            await self._compare(rows, tally)
            after = rows[-1]
        last = ""
        # Without a beginning all of them are among those that have ended.
        while audit.since and (rows := await audits.unaudited_trips(audit.since, last, PAGE)):
            await self._compare(rows, tally)
            last = rows[-1].trip_id
        await self._tell_undelivered(tally)
        for row in await self._record.trips.held_too_long(HELD_TOO_LONG):
            found = "should have expired, and is still held"
            tally.note([Difference(row.trip_id, "held_too_long", found)])
        counts = {str(kind): tally.differences[kind] for kind in DIFFERENCES}
        await audits.end(audit.audit_id, tally.trips, tally.not_compared, counts)
        logger.info("Audit: %s", tally)

    async def _tell_undelivered(self, tally: Tally) -> None:
        """Tell the events that are not delivered for an hour, also those that were given up."""
        found: dict[str, list[Difference]] = {}
        last: Event | None = None
        while events := await self._record.events.undelivered(PAGE, UNDELIVERED_FOR, last):
            last = events[-1]
            for event in events:
                stands = "was given up" if event.delivery == "given_up" else "is not delivered"
                why = f": {event.last_error}" if event.last_error else ""
                words = f"has an event, {event.told()['type']}, that {stands}{why}"
                told = Difference(event.trip_id, "undelivered", words)
                found.setdefault(event.trip_id, []).append(told)
        for differences in found.values():
            tally.note(differences)

    async def _take_mark_back(self, tally: Tally, row: RecordedTrip) -> None:
        """Take the mark of a trip back if all agrees again how it has ended.

        One that still holds something of a kind that there is no more is told each time.
        """
        held = await self._record.reservations.of(row.trip_id)
        gone = [each for each in held if each.kind not in KINDS and each.state != "cancelled"]
        if gone and (row.booked_at is None or row.cancelled_at is not None):
            tally.note(
                [Difference(row.trip_id, "held_after_end", f"needs attention: {row.reason}")]
            )
        status, reason = await self._ending(row)
        if status is None:
            return
        if await self._looking.agrees(replace(row, status=status)):
            await self._record.trips.take_mark_back(row, status, reason)
            about = {"trip_id": row.trip_id}
            logger.info(
                "Audit: all agrees again that trip %s is %s", row.trip_id, status, extra=about
            )

    async def _ending(self, row: RecordedTrip) -> tuple[TripStatus | None, str | None]:
        """Return how a marked trip had ended, and why; `None`: nobody can tell."""
        if row.booked_at is not None and row.cancelled_at is None:
            return "booked", None
        acting = await self._workflows.acting(row)
        ending = None if acting is None else await self._workflows.ending(acting)
        return (None, None) if ending is None or ending[0] == "booked" else ending

    async def _compare(self, rows: Sequence[RecordedTrip], tally: Tally) -> None:
        """Compare trips that have ended, and do what may be done about what is found."""
        looks = await self._looking.look_at(rows)
        done: set[str] = set()
        left: set[str] = set()
        for trip_id, look in looks.items():
            if look is None:
                tally.not_compared += 1
                tally.odd += 1
                continue
            tally.elsewhere += look.elsewhere
            tally.away |= look.not_asked
            differences, again = await self._mending.mend(look)
            tally.note(differences)
            tally.trips += look.is_whole
            tally.not_compared += not look.is_whole
            # What was mended is looked at again, whether it stays so.
            (done if look.is_whole and not again else left).add(trip_id)
        await self._record.audits.note_audited(done, left)
        tally.seen(len(rows))
