"""What chaos audits: whether record, reservations, Temporal and API agree on every trip.

The database is read past the product's code. What Temporal was made to forget is compared as it was
before that.
"""

import asyncio
import datetime as dt
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import sqlalchemy as sa
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from bookings import Bookings
from record import Record, RecordedTrip
from record.tables import reservations
from record.tables import trips as recorded_trips
from shared import KINDS, SagaPolicy, cancellation_id, keyed_user_id
from tests.processes import Answer, Service

logger = logging.getLogger("chaos")

Result = TypeVar("Result")

ATTEMPTS = 10

PATIENCE = 0.3
"""Seconds that a caller waits before repeating a request that got no answer."""

SETTLED_WITHIN = 180.0
"""Seconds after the last fault by which every trip must have ended."""

OWNER = "anonymous"
"""Whose trips they are, because the API has no keys here."""

AUDITS_AT_ONCE = 16

Cancel = Literal[
    "never", "under way, by Temporal", "under way, by API", "once booked", "once forgotten"
]

Violation = Literal["lost", "half-booked", "double-booked", "disagreeing", "other"]

STATUS_OF = {"success": "booked", "failure": "rolled_back", "cancelled": "cancelled"}
"""The API's word for what a workflow's result says."""


@dataclass(frozen=True)
class PlannedTrip:
    """One caller: what they want, when they ask for it, and whether they think better of it."""

    name: str
    items: dict[str, str]
    comes_before: int
    """The number of the fault."""
    asks_after: float
    """Seconds after the fault before that one was over."""
    cancel: Cancel
    cancel_after: float
    forgotten: bool
    """Whether Temporal is made to forget the trip's workflow once it has closed."""

    @property
    def headers(self) -> dict[str, str]:
        """What makes a request one of this trip."""
        return {"Idempotency-Key": self.name.replace(" ", "-")}

    @property
    def trip_id(self) -> str:
        """The id that its key leads to."""
        return keyed_user_id(OWNER, self.headers["Idempotency-Key"])

    @property
    def body(self) -> dict[str, object]:
        """The request."""
        return {"name": self.name, "attempts": ATTEMPTS, **self.items}

    @property
    def other_body(self) -> dict[str, object]:
        """Another request than this trip's."""
        return self.body | {"car": "valid-other-car"}


@dataclass(frozen=True)
class Ending:
    """How a workflow has ended, as Temporal says. `status` is in the API's words."""

    workflow_id: str
    run_id: str
    status: str
    began: dt.datetime
    closed: dt.datetime


@dataclass(frozen=True)
class Held:
    """A reservation, as the database has it."""

    kind: str
    item: str | None
    first_run_id: str | None


class Agreement:
    """The trips of one service, and all that is known of them."""

    def __init__(self, running: Service, client: Client, trips: Iterable[PlannedTrip]) -> None:
        self.service = running
        self.client = client
        self.trips = {trip.trip_id: trip for trip in trips}
        self.answers: dict[str, Answer] = {}
        """What the caller was told of each trip, by its id."""
        self.cancelled: set[str] = set()
        """The trips that the API has agreed to cancel."""
        self.outcomes: dict[str, bool] = {}
        """Whether a trip was booked, as its key's answers tell."""
        self.cancelled_at_the_end: set[str] = set()
        """The trips whose cancel came between the record's note of their ending, and the end of
        their workflows. Somebody may have been told that they were booked, or rolled back, so that
        stays."""
        self.forgotten: dict[str, Ending] = {}
        """How the workflows ended that Temporal has forgotten, by their ids."""
        self.violations: list[tuple[Violation, str, str]] = []
        """What, of which trip or process, and the details."""

    def violate(self, violation: Violation, subject: str, details: str) -> None:
        """Note a violation."""
        logger.error("%s: %s %s", violation, subject, details)
        self.violations.append((violation, subject, details))

    # Asking

    async def insist(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        accepted: Iterable[int] = (200, 202, 409),
    ) -> Answer:
        """Repeat a request until it is answered, as a good client does.

        409 is the answer to the cancellation of what was rolled back anyway. An answer that is
        neither accepted nor an outage is a violation, and returned. Raises `TimeoutError` when the
        outage does not end.
        """
        end = time.monotonic() + SETTLED_WITHIN
        while time.monotonic() < end:
            try:
                answer = await asyncio.to_thread(self.service.request, method, path, body, headers)
            except OSError:
                pass  # The API is away, or went in the middle.
            else:
                if answer.status not in (429, 503):
                    if answer.status not in accepted:
                        self.violate("other", f"{method} {path}", f"was answered {answer}")
                    return answer
            await asyncio.sleep(PATIENCE)
        raise TimeoutError(f"{method} {path} is not answered")

    # Auditing

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
        return [*(self.trips.keys() - ended), *await self.list_ids("ExecutionStatus = 'Running'")]

    async def audit(self) -> list[Ending]:
        """Compare record, reservations, Temporal and API; return how the trips' workflows ended."""
        rows, held = await self._stored()
        names = Counter(row.request["name"] for row in rows)
        for trip in self.trips.values():
            if names[trip.name] != 1:
                violation: Violation = "double-booked" if names[trip.name] else "lost"
                self.violate(violation, trip.name, f"is recorded {names[trip.name]} times")
        recorded = {row.trip_id: row for row in rows}
        for trip_id in recorded.keys() - self.trips.keys():
            self.violate("other", trip_id, "is recorded and was asked for by nobody")
        for trip_id in held.keys() - recorded.keys():
            self.violate("lost", trip_id, f"holds {held[trip_id]} and is not recorded")
        for trip_id in self.answers.keys() - recorded.keys():
            self.violate("lost", trip_id, "was confirmed and is not recorded")
        known = self.trips.keys() | {cancellation_id(trip_id) for trip_id in self.trips}
        for workflow_id in set(await self.list_ids("")) - known:
            self.violate("double-booked", workflow_id, "is a workflow that nobody asked for")

        places = asyncio.Semaphore(AUDITS_AT_ONCE)

        async def compare(trip: PlannedTrip, row: RecordedTrip) -> Ending | None:
            async with places:
                return await self._compare(trip, row, held.get(row.trip_id, []))

        compared = await asyncio.gather(
            *(
                compare(self.trips[trip_id], row)
                for trip_id, row in recorded.items()
                if trip_id in self.trips
            )
        )
        if await self._stored() != (rows, held):
            self.violate("other", "the database", "has changed while all was only asked for again")
        async with Record.open(self.service.database_url) as record:
            for finding in await Bookings(self.client, record, SagaPolicy()).audit():
                self.violate("disagreeing", finding.user_id, f"is found by the audit: {finding}")
        for process in self.service.processes:
            if not process.running:
                self.violate("other", process.name, "has ended by itself")
        return [ending for ending in compared if ending is not None]

    async def _compare(
        self, trip: PlannedTrip, row: RecordedTrip, held: list[Held]
    ) -> Ending | None:
        """Compare all that is known of a trip with its row; return how its workflow ended."""
        status = row.status
        if row.closed_at is None or status not in STATUS_OF.values():
            self.violate("lost", row.trip_id, f"is recorded as {status}, closed {row.closed_at}")
        wanted = [Held(kind, item, row.first_run_id) for kind, item in trip.items.items()]
        if held != (wanted if status == "booked" else []):
            self.violate("half-booked", row.trip_id, f"is {status} and holds {held}")
        if status == "booked" and row.trip_id in self.cancelled:
            self.violate("other", row.trip_id, "is booked after its cancellation")
        ending = await self._in_temporal(row)
        await self._ask_api(trip, row)
        if self.outcomes.get(row.trip_id) != (row.booked_at is not None):
            self.violate("disagreeing", row.trip_id, f"was booked {row.booked_at}; told otherwise")
        return ending

    async def _in_temporal(self, row: RecordedTrip) -> Ending | None:
        """Compare a row with how its workflows ended; return how its own did."""
        own = await self.ending(row.trip_id)
        cancellation = await self.ending(cancellation_id(row.trip_id))
        if own is None:
            self.violate("lost", row.trip_id, "has no workflow, and none was deleted")
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
        if cancellation is None and (own.status, row.status) == ("cancelled", "rolled_back"):
            # A cancel that came while the rollback was being recorded: what was told first stands.
            self.cancelled_at_the_end.add(row.trip_id)
        elif last.status != row.status:
            self.violate("disagreeing", row.trip_id, f"is {row.status}; Temporal has {last}")
        return own

    async def _ask_api(self, trip: PlannedTrip, row: RecordedTrip) -> None:
        """Compare a row with what is told of the trip, now and under its key."""
        told = (await self.insist("GET", f"/bookings/{row.trip_id}")).body
        shown = trip.items if row.status == "booked" else {}
        if (told["status"], told.get("reservations")) != (row.status, shown):
            self.violate("disagreeing", row.trip_id, f"is {row.status} and called {told}")
        await self.use_key_again(trip)

    async def use_key_again(self, trip: PlannedTrip) -> None:
        """Send the request of a trip that has ended once more, and another one under its key.

        The answer tells how the booking went, also when it was cancelled later, and never changes.
        """
        again = await self.insist("POST", "/book", trip.body, trip.headers)
        if again.status != 200 or again.body["user_id"] != trip.trip_id:
            self.violate("disagreeing", trip.trip_id, f"has ended; its key leads to {again}")
        self.note_outcome(trip.trip_id, again)
        await self.insist("POST", "/book", trip.other_body, trip.headers, accepted=[422])

    def note_outcome(self, trip_id: str, answer: Answer) -> None:
        """Compare what a key leads to with what it led to before."""
        if answer.status != 200:
            return
        booked = not answer.body["cancelled"]
        if self.outcomes.setdefault(trip_id, booked) != booked:
            self.violate("disagreeing", trip_id, f"had another outcome before: {answer}")

    async def _stored(self) -> tuple[list[RecordedTrip], dict[str, list[Held]]]:
        """Return the trips and what is held, read from the database past the product's code."""
        return await asyncio.to_thread(_stored_in, self.service.database_url)

    async def ending(self, workflow_id: str) -> Ending | None:
        """Return how a workflow ended, also if Temporal was made to forget it; `None`: it has none.

        One that still runs has no ending, either.
        """
        if workflow_id in self.forgotten:
            return self.forgotten[workflow_id]
        description = await self.describe(workflow_id)
        if description is None:
            return self.forgotten.get(workflow_id)
        match description.status:
            case WorkflowExecutionStatus.COMPLETED:
                result = self.client.get_workflow_handle(workflow_id).result
                try:
                    status = STATUS_OF[(await persistently(result))["status"]]
                except RPCError:  # It is being forgotten at this moment.
                    return self.forgotten.get(workflow_id)
            case WorkflowExecutionStatus.CANCELED:
                status = "cancelled"
            case unexpected:
                status = str(unexpected)
        began, closed = description.start_time, description.close_time
        if closed is None:
            return None
        return Ending(workflow_id, description.run_id, status, began, closed)

    async def describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        """Return what Temporal knows of a workflow; `None`: nothing."""
        try:
            return await persistently(self.client.get_workflow_handle(workflow_id).describe)
        except RPCError:
            return None

    async def closed_workflows(self, since: dt.datetime | None = None) -> list[str]:
        """Return the ids of the workflows that Temporal lists as closed."""
        after = f" AND CloseTime > '{since.isoformat()}'" if since else ""
        return await self.list_ids(f"ExecutionStatus != 'Running'{after}")

    async def list_ids(self, query: str) -> list[str]:
        async def found() -> list[str]:
            return [execution.id async for execution in self.client.list_workflows(query)]

        return await persistently(found)


def _stored_in(database_url: str) -> tuple[list[RecordedTrip], dict[str, list[Held]]]:
    engine = sa.create_engine(database_url)
    columns = [recorded_trips.c[field] for field in RecordedTrip.__dataclass_fields__]
    order = sa.case({kind: number for number, kind in enumerate(KINDS)}, value=reservations.c.kind)
    try:
        with engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).order_by(recorded_trips.c.trip_id))
            trips = [RecordedTrip(*row) for row in rows]
            reserved = sa.select(reservations).where(reservations.c.state == "reserved")
            held: dict[str, list[Held]] = defaultdict(list)
            for row in connection.execute(reserved.order_by(order)):
                held[row.trip_id].append(Held(row.kind, row.item, row.first_run_id))
    finally:
        engine.dispose()
    return trips, held


async def persistently(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Ask Temporal until it answers. Raises `RPCError` when there is no such open workflow."""
    while True:
        try:
            return await ask()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(PATIENCE)
