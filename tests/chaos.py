"""Chaos: bookings run while the service's processes are killed, frozen and stopped, then an audit.

    PYTHONPATH=. python tests/chaos.py --seed 7 --trips 150 --seconds 25 --database sqlite

Trips, faults and their moments follow from the seed. Callers behave as good clients do: they repeat
a request whose answer they did not get, under the same idempotency key. When all has closed, the
database and the API are compared with what Temporal says of each trip. Exits with 1 on a violation.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import logging
import random
import secrets
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from shared import KINDS, cancelled_trip
from tests.processes import FAST_TIMERS, Answer, Database, Process, Service, service

logger = logging.getLogger("chaos")

Result = TypeVar("Result")

SETTINGS = {
    "HOTEL_LATENCY_SECONDS": 0.7,
    "HOTEL_OUTAGE_ATTEMPTS": 1,
    "HEARTBEAT_TIMEOUT_SECONDS": 1,
    "TRY_TIMEOUT_SECONDS": 8,
    "RETRY_INTERVAL_SECONDS": 0.2,
    "RETRY_INTERVAL_CAP_SECONDS": 1,
    "STEP_DEADLINE_SECONDS": 60,
    "UNDO_ATTEMPTS": 5,
    "STUCK_RETRY_INTERVAL_SECONDS": 2,
    "BOOK_WAIT_SECONDS": 20,
    "MAX_OPEN_BOOKINGS": 400,
}

FIRST_CROWD = 100
"""As many callers come before the first fault."""

ATTEMPTS = 10

PATIENCE = 0.3
"""Seconds that a caller waits before repeating a request that got no answer."""

FROZEN_AT_MOST = 15.0
"""Seconds after which a worker frozen "past an undo" is thawed even if nothing was undone."""

SETTLED_WITHIN = 180.0
"""Seconds after the last fault by which every trip must have ended."""

Cancel = Literal["never", "under way, by Temporal", "under way, by API", "once booked"]

Violation = Literal["lost", "half-booked", "double-booked", "other"]

STATUS_OF = {"success": "booked", "failure": "rolled_back", "cancelled": "cancelled"}
"""The API's word for what a workflow's result says."""


@dataclass(frozen=True)
class PlannedTrip:
    """One caller: what they want, when they ask for it, and whether they think better of it."""

    name: str
    items: dict[str, str]
    asks_at: float
    cancel: Cancel
    cancel_after: float


@dataclass(frozen=True)
class PlannedFault:
    """One fault: its kind, its moment, how long it lasts and which worker it strikes."""

    kind: str
    after: float
    """Seconds after the previous fault was over."""
    lasts: float
    worker: int


@dataclass(frozen=True)
class Ending:
    """How a workflow has ended, as Temporal says. `status` is in the API's words."""

    workflow_id: str
    status: str
    name: str
    items: dict[str, str]
    began: dt.datetime
    closed: dt.datetime


def plan_trips(chance: random.Random, count: int, seconds: float) -> list[PlannedTrip]:
    """Return a crowd that comes at once, and callers who come one by one after it."""
    cancels: list[Cancel] = ["under way, by Temporal", "under way, by API", "once booked", "never"]
    trips = []
    for number in range(count):
        items: dict[str, str] = {kind: f"valid-{kind}-{number}" for kind in KINDS}
        if chance.random() < 0.25:
            items[chance.choice(KINDS)] = f"invalid-{number}"
        trips.append(
            PlannedTrip(
                name=f"Traveller {number}",
                items=items,
                asks_at=1.0 if number < FIRST_CROWD else chance.uniform(1, seconds),
                cancel=chance.choices(cancels, [10, 10, 10, 70])[0],
                cancel_after=chance.uniform(0, 4),
            )
        )
    return trips


def plan_faults(chance: random.Random, seconds: float, database: Database) -> list[PlannedFault]:
    """Return faults for so many seconds, and at least one of each kind."""
    kinds = [kind for kind in FAULTS if database == "postgresql" or "PostgreSQL" not in kind]
    faults: list[PlannedFault] = []
    while sum(fault.after + fault.lasts for fault in faults) < seconds:
        for kind in chance.sample(kinds, len(kinds)):
            after, lasts = chance.uniform(0, 2), chance.uniform(0, 2)
            faults.append(PlannedFault(kind, after, lasts, chance.randrange(2)))
    return faults


class Chaos:
    """One run over one service."""

    def __init__(self, running: Service, client: Client) -> None:
        self.service = running
        self.client = client
        self.answers: dict[str, Answer] = {}
        """What the caller was told of each trip, by its id."""
        self.cancelled: set[str] = set()
        """The trips that the API has agreed to cancel."""
        self.faults: list[tuple[str, dt.datetime]] = []
        self.violations: list[tuple[Violation, str, str]] = []
        """What, of which trip or process, and the details."""

    def violate(self, violation: Violation, subject: str, details: str) -> None:
        """Note a violation."""
        logger.error("%s: %s %s", violation, subject, details)
        self.violations.append((violation, subject, details))

    # Callers

    async def call(self, trip: PlannedTrip) -> None:
        """Ask for a trip until there is an answer, and cancel it if so planned."""
        await asyncio.sleep(trip.asks_at)
        headers = {"Idempotency-Key": trip.name.replace(" ", "-")}
        if trip.cancel.startswith("under way"):
            headers["Prefer"] = "respond-async"
        body = {"name": trip.name, "attempts": ATTEMPTS, **trip.items}
        answer = await self.insist("POST", "/book", body, headers)
        user_id = answer.body["user_id"]
        self.answers[user_id] = answer
        if trip.cancel == "never":
            return
        if trip.cancel == "once booked" and await self.outcome(user_id) != "booked":
            return
        await asyncio.sleep(trip.cancel_after)
        if trip.cancel == "under way, by Temporal":
            with contextlib.suppress(RPCError):  # It has ended already.
                await persistently(self.client.get_workflow_handle(user_id).cancel)
            return
        await self.insist("POST", f"/bookings/{user_id}/cancel")
        self.cancelled.add(user_id)

    async def outcome(self, user_id: str) -> str:
        """Wait until the API calls the trip closed and return its status."""
        while True:
            booking = (await self.insist("GET", f"/bookings/{user_id}?wait=5")).body
            if booking["closed_at"] is not None:
                return str(booking["status"])

    async def insist(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Repeat a request until it is answered, as a good client does.

        409 is the answer to the cancellation of what was rolled back anyway.
        """
        while True:
            try:
                answer = await asyncio.to_thread(self.service.request, method, path, body, headers)
            except OSError:
                pass  # The API is away, or went in the middle.
            else:
                if answer.status in (200, 202, 409):
                    return answer
                if answer.status not in (429, 503):
                    self.violate("other", f"{method} {path}", f"was answered {answer}")
            await asyncio.sleep(PATIENCE)

    # Faults

    async def cause(self, faults: Iterable[PlannedFault]) -> None:
        """Cause one fault after the other."""
        await asyncio.sleep(2)  # The first crowd is under way.
        for fault in faults:
            await asyncio.sleep(fault.after)
            logger.info("%s (%.1f s)", fault.kind, fault.lasts)
            self.faults.append((fault.kind, dt.datetime.now(dt.UTC)))
            await FAULTS[fault.kind](self, fault)

    async def kill_worker(self, fault: PlannedFault) -> None:
        """`kill -9`."""
        await self._kill(fault, self.service.workers[fault.worker])

    async def kill_workers(self, fault: PlannedFault) -> None:
        """`kill -9`, both."""
        await self._kill(fault, *self.service.workers)

    async def kill_api(self, fault: PlannedFault) -> None:
        """`kill -9`."""
        await self._kill(fault, self.service.api)

    async def kill_temporal(self, fault: PlannedFault) -> None:
        """`kill -9`."""
        await self._kill(fault, self.service.temporal)

    async def kill_postgres(self, fault: PlannedFault) -> None:
        """`kill -9`, every process of the server."""
        assert self.service.postgres
        await self._kill(fault, self.service.postgres)

    async def _kill(self, fault: PlannedFault, *processes: Process) -> None:
        for process in processes:
            process.kill()
        await asyncio.sleep(fault.lasts)
        for process in processes:
            process.start()

    async def stop_worker(self, fault: PlannedFault) -> None:
        """An orderly stop, as at a deployment."""
        worker = self.service.workers[fault.worker]
        # One that was started a moment ago does not listen for signals before it polls.
        await asyncio.to_thread(worker.wait_for_output, "Polling task queue")
        code = await asyncio.to_thread(worker.stop)
        if code or "Traceback" in worker.output:
            self.violate("other", worker.name, f"stopped with exit code {code}")
        await asyncio.sleep(fault.lasts)
        worker.start()

    async def freeze_past_heartbeats(self, fault: PlannedFault) -> None:
        """Freeze a worker until its tries have timed out."""
        worker = self.service.workers[fault.worker]
        worker.freeze()
        await asyncio.sleep(SETTINGS["HEARTBEAT_TIMEOUT_SECONDS"] + fault.lasts)
        worker.thaw()

    async def freeze_past_undo(self, fault: PlannedFault) -> None:
        """Freeze a worker until a trip that ran then has ended with nothing held."""
        worker = self.service.workers[fault.worker]
        worker.freeze()
        since = dt.datetime.now(dt.UTC)
        while (dt.datetime.now(dt.UTC) - since).total_seconds() < FROZEN_AT_MOST:
            closed = await self.endings(f"CloseTime > '{since.isoformat()}'")
            if any(trip.began < since and trip.status != "booked" for trip in closed):
                break
            await asyncio.sleep(PATIENCE)
        await asyncio.sleep(fault.lasts)
        worker.thaw()

    # Audit

    async def settle(self) -> None:
        """Wait until every workflow has closed."""
        end = time.monotonic() + SETTLED_WITHIN
        while still_open := await self._workflows("ExecutionStatus = 'Running'"):
            if time.monotonic() > end:
                for execution in still_open:
                    self.violate("lost", execution.id, "does not end")
                return
            await asyncio.sleep(PATIENCE)

    async def audit(self, trips: Iterable[PlannedTrip]) -> list[Ending]:
        """Compare database, API and Temporal; return how the trips ended."""
        endings = await self.endings("ExecutionStatus != 'Running'")
        cancellations = {cancelled_trip(ending.workflow_id): ending for ending in endings}
        bookings = {
            ending.workflow_id: ending
            for ending in endings
            if cancelled_trip(ending.workflow_id) is None
        }
        held: dict[str, dict[str, str | None]] = defaultdict(dict)
        for trip_id, kind, item, state in self.service.rows():
            if state == "reserved":
                held[trip_id][kind] = item

        for trip_id in held.keys() - bookings.keys():
            self.violate("lost", trip_id, f"holds {held[trip_id]} and has no workflow")
        for trip_id in self.answers.keys() - bookings.keys():
            self.violate("lost", trip_id, "was confirmed and has no workflow")
        names = Counter(booking.name for booking in bookings.values())
        for trip in trips:
            if names[trip.name] != 1:
                violation: Violation = "double-booked" if names[trip.name] else "lost"
                self.violate(violation, trip.name, f"has {names[trip.name]} workflows")
        for trip_id, booking in bookings.items():
            await self._compare(booking, cancellations.get(trip_id), held[trip_id])
        for process in self.service.processes:
            if not process.running:
                self.violate("other", process.name, "has ended by itself")
        return list(bookings.values())

    async def _compare(
        self, booking: Ending, cancellation: Ending | None, held: dict[str, str | None]
    ) -> None:
        """Compare what a trip holds, and what is told of it, with how it ended."""
        status = cancellation.status if cancellation else booking.status
        if status not in STATUS_OF.values():
            self.violate("lost", booking.workflow_id, f"closed as {status}")
        if held != (booking.items if status == "booked" else {}):
            self.violate("half-booked", booking.workflow_id, f"is {status} and holds {held}")
        if status == "booked" and booking.workflow_id in self.cancelled:
            self.violate("other", booking.workflow_id, "is booked after its cancellation")
        told = (await self.insist("GET", f"/bookings/{booking.workflow_id}")).body
        if told["status"] != status:
            self.violate("other", booking.workflow_id, f"is {status} and called {told}")
        answer = self.answers.get(booking.workflow_id)
        if answer and answer.status == 200:
            cancelled = booking.status != "booked"
            if answer.body["cancelled"] != cancelled:
                self.violate("other", booking.workflow_id, f"is {status}; told {answer.body}")

    async def endings(self, query: str) -> list[Ending]:
        """Return how the closed workflows ended that `query` finds."""
        return [await self._ending(execution) for execution in await self._workflows(query)]

    async def _workflows(self, query: str) -> list[WorkflowExecution]:
        async def found() -> list[WorkflowExecution]:
            return [execution async for execution in self.client.list_workflows(query)]

        return await persistently(found)

    async def _ending(self, execution: WorkflowExecution) -> Ending:
        match execution.status:
            case WorkflowExecutionStatus.COMPLETED:
                result = self.client.get_workflow_handle(execution.id).result
                status = STATUS_OF[(await persistently(result))["status"]]
            case WorkflowExecutionStatus.CANCELED:
                status = "cancelled"
            case unexpected:
                status = str(unexpected)
        memo = await execution.memo()
        assert execution.close_time
        return Ending(
            execution.id,
            status,
            memo["name"],
            {kind: memo[kind] for kind in KINDS},
            execution.start_time,
            execution.close_time,
        )


FAULTS: dict[str, Callable[[Chaos, PlannedFault], Awaitable[None]]] = {
    "kill -9 of a worker": Chaos.kill_worker,
    "kill -9 of both workers": Chaos.kill_workers,
    "kill -9 of the API": Chaos.kill_api,
    "kill -9 of Temporal": Chaos.kill_temporal,
    "kill -9 of PostgreSQL": Chaos.kill_postgres,
    "a worker frozen past its heartbeats": Chaos.freeze_past_heartbeats,
    "a worker frozen past an undo": Chaos.freeze_past_undo,
    "SIGTERM to a worker": Chaos.stop_worker,
}


async def persistently(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Ask Temporal until it answers. Raises `RPCError` when there is no such open workflow."""
    while True:
        try:
            return await ask()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(PATIENCE)


async def run(running: Service, trips: list[PlannedTrip], faults: list[PlannedFault]) -> bool:
    """Run trips and faults over a started service, audit, report; return whether all is well."""
    # Each caller waits for its answer in a thread of its own.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(trips) + 8))
    chaos = Chaos(running, await Client.connect(running.temporal_address))
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for trip in trips:
            tasks.create_task(chaos.call(trip))
        tasks.create_task(chaos.cause(faults))
    await chaos.settle()
    bookings = await chaos.audit(trips)
    _write(report(chaos, bookings, time.monotonic() - begun))
    return not chaos.violations


def report(chaos: Chaos, bookings: list[Ending], seconds: float) -> list[str]:
    """Return, for each kind of fault, what became of the trips that ran when it struck.

    A trip's delay is the time from the fault to the trip's end.
    """
    struck: dict[str, list[list[tuple[Ending, float]]]] = defaultdict(list)
    for kind, moment in chaos.faults:
        struck[kind].append(
            [
                (booking, (booking.closed - moment).total_seconds())
                for booking in bookings
                if booking.began < moment < booking.closed
            ]
        )
    row = "{:36} {:>5} {:>13} {:>4} {:>11} {:>13} {:>13}".format
    lines = [
        row(
            "fault",
            "times",
            "trips running",
            "lost",
            "half-booked",
            "double-booked",
            "longest delay",
        )
    ]
    for kind, times in struck.items():
        running = [trip for trips in times for trip in trips]
        ids = {trip.workflow_id for trip, _ in running} | {trip.name for trip, _ in running}
        wrong = Counter(violation for violation, subject, _ in chaos.violations if subject in ids)
        counts = [wrong["lost"], wrong["half-booked"], wrong["double-booked"]]
        longest = max((delay for _, delay in running), default=0.0)
        lines.append(row(kind, len(times), len(running), *counts, f"{longest:.1f} s"))
    wrong = Counter(violation for violation, _, _ in chaos.violations)
    counts = [wrong["lost"], wrong["half-booked"], wrong["double-booked"]]
    lines.append(row("all trips", len(chaos.faults), len(bookings), *counts, ""))
    ends = Counter(booking.status for booking in bookings)
    logs = [worker.log.read_text() for worker in chaos.service.workers]
    late = sum(log.count("was undone already") for log in logs)
    lines.append(
        f"{', '.join(f'{count} {status}' for status, count in sorted(ends.items()))};"
        f" {len(chaos.cancelled)} cancellations through the API; {late} late tries refused;"
        f" {seconds:.0f} s"
    )
    lines += [f"VIOLATION {violation}: {what} {how}" for violation, what, how in chaos.violations]
    return lines


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    """Run chaos over each database and exit with 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--trips", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=25.0, help="how long faults are caused")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # A terminated run must clean up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated"))
    well = True
    for database in options.database or ["sqlite", "postgresql"]:
        _write([f"Chaos over {database}, --seed {options.seed}"])
        chance = random.Random(options.seed)
        trips = plan_trips(chance, options.trips, options.seconds)
        faults = plan_faults(chance, options.seconds, database)
        with service(database, FAST_TIMERS, **SETTINGS) as running:
            running.start(workers=2)
            well &= asyncio.run(run(running, trips, faults))
    sys.exit(not well)


if __name__ == "__main__":
    main()
