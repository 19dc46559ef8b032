"""What chaos audits: whether record, suppliers, Temporal and API agree on every trip.

The database is read past the product's code. What Temporal was made to forget is compared as it was
before that.
"""

import asyncio
import datetime as dt
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from temporalio.client import Client

from audit import Difference, Tally
from audit.open_trips import OpenTrips
from bookings import Settling, TripWorkflows
from record import Record, RecordedTrip
from record.tables import audits, reservations
from record.tables import trips as recorded_trips
from saga.steps import NO_ANSWER
from shared import KINDS, SagaPolicy, cancellation_id
from tests.chaos import receiver as webhooks
from tests.chaos import suppliers
from tests.chaos.asking import PATIENCE, SETTLED_WITHIN, STATUS_OF, Asking, Ending, Violation
from tests.chaos.plans import PlannedTrip
from tests.chaos.receiver import Receiver
from tests.processes import Service

AUDITS_AT_ONCE = 16


@dataclass(frozen=True)
class Kept:
    """A reservation, as the database has it."""

    kind: str
    item: str | None
    state: str
    first_run_id: str | None
    reference: str | None


class Agreement(Asking):
    """All that is known of the trips of one service, and whether it fits together.

    Without `outside` the suppliers are embedded ones, whose reservations are the record's rows.
    """

    def __init__(
        self,
        running: Service,
        client: Client,
        trips: Iterable[PlannedTrip],
        outside: suppliers.Suppliers | None,
        receiver: Receiver,
    ) -> None:
        super().__init__(running, client, trips)
        self.outside = outside
        self.receiver = receiver
        self.cancelled_at_the_end: set[str] = set()
        """The trips whose cancel came between the record's note of their ending, and the end of
        their workflows. Somebody may have been told of that ending, so it stays."""
        self.statuses: Counter[str] = Counter()
        """How many trips have ended as what, in the record."""
        self.audits: list[tuple[dt.datetime | None, dict[str, int] | None]] = []
        """When each audit meanwhile has ended, and what it has found."""

    async def settle(self) -> None:
        """Wait until the record has every trip as ended, and every workflow has closed."""
        end = time.monotonic() + SETTLED_WITHIN
        while still_open := await self._still_open():
            if time.monotonic() > end:
                for subject in still_open:
                    self.violate("lost", subject, "does not end")
                return
            await asyncio.sleep(PATIENCE)

    async def _still_open(self) -> list[str]:
        rows, _ = await self._stored()
        ended = {row.trip_id for row in rows if row.closed_at is not None}
        running = await self.list_ids("ExecutionStatus = 'Running'")
        return [*(self.trips.keys() - ended), *running]

    async def audit(self) -> list[Ending]:
        """Compare record, suppliers, Temporal and API; return how the trips' workflows ended."""
        rows, kept = await self._stored()
        self.statuses = Counter(row.status for row in rows)
        names = Counter(row.request["name"] for row in rows)
        for trip in self.planned:
            if names[trip.name] != 1:
                violation: Violation = "double-booked" if names[trip.name] else "lost"
                self.violate(violation, trip.name, f"is recorded {names[trip.name]} times")
        recorded = {row.trip_id: row for row in rows}
        for trip_id in recorded.keys() - self.trips.keys():
            self.violate("other", trip_id, "is recorded and was asked for by nobody")
        for trip_id in kept.keys() - recorded.keys():
            self.violate("lost", trip_id, f"has {kept[trip_id]} and is not recorded")
        if self.outside:
            await self._ask_suppliers(self.outside, rows, kept)
        for trip_id in self.trips.keys() - recorded.keys():
            self.violate("lost", trip_id, "was confirmed and is not recorded")
        known = self.trips.keys() | {cancellation_id(trip_id) for trip_id in self.trips}
        for workflow_id in set(await self.list_ids("")) - known:
            self.violate("double-booked", workflow_id, "is a workflow that nobody asked for")

        places = asyncio.Semaphore(AUDITS_AT_ONCE)

        async def compare(trip: PlannedTrip, row: RecordedTrip) -> Ending | None:
            async with places:
                return await self._compare(trip, row, kept.get(row.trip_id, []))

        compared = await asyncio.gather(
            *(
                compare(self.trips[trip_id], row)
                for trip_id, row in recorded.items()
                if trip_id in self.trips
            )
        )
        if await self._stored() != (rows, kept):
            self.violate("other", "the database", "has changed while all was only asked for again")
        async with Record.open(self.service.database_url) as record:
            workflows = TripWorkflows(self.client, SagaPolicy())
            open_trips = OpenTrips(record, workflows, Settling(record, workflows))
            found: list[Difference] = []
            await open_trips.compare(Tally(found.append))
        for each in found:
            self.violate("disagreeing", each.trip_id, f"the audit says: {each}")
        self.audits = await asyncio.to_thread(_audits_in, self.service.database_url)
        for ended, differences in self.audits:
            if ended and any((differences or {}).values()):
                self.violate("disagreeing", "an audit meanwhile", f"has found {differences}")
        await self._receive_the_rest()
        for process in self.service.processes:
            if not process.running:
                self.violate("other", process.name, "has ended by itself")
        return [ending for ending in compared if ending is not None]

    async def _compare(
        self, trip: PlannedTrip, row: RecordedTrip, kept: list[Kept]
    ) -> Ending | None:
        """Compare all that is known of a trip with its row; return how its workflow ended."""
        status = row.status
        if row.closed_at is None or status not in STATUS_OF.values():
            self.violate("lost", row.trip_id, f"is recorded as {status}, closed {row.closed_at}")
        undecided = [each for each in kept if each.state not in ("reserved", "cancelled")]
        if undecided:
            self.violate("half-booked", row.trip_id, f"is {status} and has {undecided}")
        held = [each for each in kept if each.state == "reserved"]
        items = [(each.kind, each.item) for each in held]
        if items != (list(trip.items.items()) if status == "booked" else []):
            self.violate("half-booked", row.trip_id, f"is {status} and holds {held}")
        if {each.first_run_id for each in held} - {row.first_run_id}:
            self.violate("half-booked", row.trip_id, f"is {row.first_run_id}'s, and holds {held}")
        # On a busy machine a trip may run out of time. Else only a supplier's word rolls it back.
        due = self.outside is not None or any("invalid" in item for item in trip.items.values())
        if status == "rolled_back" and not due and row.reason != NO_ANSWER:
            self.violate("other", row.trip_id, f"was rolled back: {row.reason}")
        if status == "booked" and row.trip_id in self.cancelled:
            self.violate("other", row.trip_id, "is booked after its cancellation")
        self._check_hold(trip, row)
        ending = await self._in_temporal(row)
        await self._ask_api(trip, row, held)
        if self.outcomes.get(row.trip_id) != (row.booked_at is not None):
            self.violate("disagreeing", row.trip_id, f"was booked {row.booked_at}; told otherwise")
        return ending

    def _check_hold(self, trip: PlannedTrip, row: RecordedTrip) -> None:
        """Compare a row with what its caller wanted of the hold, and was told of the confirm."""
        confirmed = row.confirmed_at is not None
        if trip.hold == "no" and (confirmed or row.expires_at or row.status == "expired"):
            self.violate("other", row.trip_id, f"was not to be held: {row}")
        if trip.hold != "no" and (row.booked_at is not None) and not confirmed:
            self.violate("other", row.trip_id, "was booked and not confirmed")
        if row.status == "expired" and (confirmed or row.expires_at is None):
            self.violate("other", row.trip_id, f"has expired: {row}")
        agreed = self.confirmed.get(row.trip_id, False)
        # A cancel that comes with the confirm may leave no note of it.
        if agreed != confirmed and trip.cancel in ("never", "once booked", "once forgotten"):
            self.violate("disagreeing", row.trip_id, f"confirm: {agreed}, but {row}")

    async def _in_temporal(self, row: RecordedTrip) -> Ending | None:
        """Compare a row with how its workflows ended; return how its own did."""
        own = await self.ending(row.trip_id)
        cancellation = await self.ending(cancellation_id(row.trip_id))
        if own is None:
            about = f"is {row.status} ({row.reason}), has no workflow, and none was deleted"
            self.violate("lost", row.trip_id, about)
            return None
        for workflow_id in (row.trip_id, cancellation_id(row.trip_id)):
            again = await self.describe(workflow_id) if workflow_id in self.forgotten else None
            if again is not None:
                self.violate("double-booked", row.trip_id, f"was started again as {again.run_id}")
        if own.run_id != row.first_run_id:
            self.violate("disagreeing", row.trip_id, f"is {row.first_run_id}'s, and ran as {own}")
        if (cancellation is None) != (row.cancelled_at is None):
            self.violate("disagreeing", row.trip_id, f"{row.cancelled_at}, but {cancellation}")
        if own.status == "cancelled" and row.booked_at is not None:
            self.cancelled_at_the_end.add(row.trip_id)
        elif (own.status == "booked") != (row.booked_at is not None):
            self.violate("disagreeing", row.trip_id, f"was booked {row.booked_at}; Temporal: {own}")
        last = cancellation or own
        overtaken = own.status == "cancelled" and row.status in ("rolled_back", "expired")
        if cancellation is None and overtaken:
            # A cancel that came while the ending was being recorded: what was told first stands.
            self.cancelled_at_the_end.add(row.trip_id)
        elif last.status != row.status:
            self.violate("disagreeing", row.trip_id, f"is {row.status}; Temporal has {last}")
        return own

    async def _ask_api(self, trip: PlannedTrip, row: RecordedTrip, held: list[Kept]) -> None:
        """Compare a row with what is told of the trip, now and under its key."""
        told = (await self.insist("GET", f"/bookings/{row.trip_id}")).body
        shown = trip.items if row.status == "booked" else {}
        if (told["status"], told.get("reservations")) != (row.status, shown):
            self.violate("disagreeing", row.trip_id, f"is {row.status} and called {told}")
        references = {step["kind"]: step["reference"] for step in told.get("steps") or []}
        if any(references.get(each.kind) != each.reference for each in held):
            self.violate("disagreeing", row.trip_id, f"holds {held} and is shown with {told}")
        await self.use_key_again(row.trip_id)

    async def _ask_suppliers(
        self,
        outside: suppliers.Suppliers,
        rows: list[RecordedTrip],
        kept: dict[str, list[Kept]],
    ) -> None:
        """Compare the record with what the suppliers hold, once all that is late has come."""
        await asyncio.to_thread(outside.end_faults)
        await asyncio.sleep(suppliers.SETTLED_WITHIN)
        booked = {row.trip_id for row in rows if row.status == "booked"}
        findings = suppliers.compare(
            {each: trip.items if each in booked else {} for each, trip in self.trips.items()},
            {(each, row.kind): row.reference for each in kept for row in kept[each]},
            await asyncio.to_thread(outside.held),
        )
        for finding in findings:
            self.violate(*finding)

    async def _receive_the_rest(self) -> None:
        """Have what has failed sent again, as an operator does, and compare what was received."""
        self.receiver.broken = False
        database_url = self.service.database_url
        end, asked = time.monotonic() + SETTLED_WITHIN, set[str]()
        while time.monotonic() < end:
            waiting = await asyncio.to_thread(webhooks.waiting, database_url)
            if not waiting:
                break
            # Nobody is told of an event that has no place yet.
            known = {event_id for event_id, position in waiting if position is not None}
            for event_id in known - asked:
                await self.insist("POST", f"/events/{event_id}/redeliver")
            asked |= known
            await asyncio.sleep(PATIENCE)
        wrong = await asyncio.to_thread(lambda: list(webhooks.compare(database_url, self.receiver)))
        for subject, what in wrong:
            self.violate("untold", subject, what)

    async def _stored(self) -> tuple[list[RecordedTrip], dict[str, list[Kept]]]:
        """Return the trips and their reservations, read past the product's code."""
        return await asyncio.to_thread(_stored_in, self.service.database_url)


def _audits_in(database_url: str) -> list[tuple[dt.datetime | None, dict[str, int] | None]]:
    """Return when each audit that the schedule has started ended, and what it has found."""
    engine = sa.create_engine(database_url)
    try:
        with engine.connect() as connection:
            columns = audits.c.ended_at, audits.c.differences
            return [(row[0], row[1]) for row in connection.execute(sa.select(*columns))]
    finally:
        engine.dispose()


def _stored_in(database_url: str) -> tuple[list[RecordedTrip], dict[str, list[Kept]]]:
    engine = sa.create_engine(database_url)
    fields = RecordedTrip.__dataclass_fields__
    columns = [column for column in recorded_trips.c if column.name in fields]
    order = sa.case({kind: number for number, kind in enumerate(KINDS)}, value=reservations.c.kind)
    try:
        with engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).order_by(recorded_trips.c.trip_id))
            trips = [RecordedTrip(**row._mapping) for row in rows]
            kept: dict[str, list[Kept]] = defaultdict(list)
            for row in connection.execute(sa.select(reservations).order_by(order)):
                kept[row.trip_id].append(
                    Kept(row.kind, row.item, row.state, row.first_run_id, row.reference)
                )
    finally:
        engine.dispose()
    return trips, kept
