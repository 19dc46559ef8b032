"""Chaos: bookings run while the service is killed, frozen, starved, locked and forgotten.

    python -m tests.chaos --seed 7 --trips 150 --seconds 25 --database sqlite

Trips, faults and their moments follow from the seed. Callers behave as good clients do: they repeat
a request whose answer they did not get, under the same idempotency key. Meanwhile a random half of
the closed workflows is deleted from Temporal, as its retention does it, and their keys are used
again. When all has ended, the record, the reservations and the API are compared with what Temporal
says of each trip, or said before it was made to forget. Exits with 1 on a violation.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import logging
import random
import secrets
import signal
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psutil
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from shared import KINDS, cancelled_trip
from tests.agreement import (
    PATIENCE,
    SETTLED_WITHIN,
    Agreement,
    Cancel,
    Ending,
    PlannedTrip,
    persistently,
)
from tests.processes import (
    FAST_FORGETTING,
    FAST_TIMERS,
    Database,
    Process,
    Service,
    free_port,
    service,
)
from tests.slowness import Link, held_to, slow_link

logger = logging.getLogger("chaos")

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

FIRST_CROWD = 0.4
"""So great a share of the callers comes before the first fault."""

FROZEN_AT_MOST = 15.0
"""Seconds after which a worker frozen "past an undo" is thawed even if nothing was undone."""

FORGOTTEN_WITHIN = 60.0
"""Seconds after which a deleted workflow must be gone, faults left aside."""

DATABASE_AWAY = 2.5
"""Seconds, and up to two more times the fault's own, that a database is frozen or locked: within
the record's limits, and past them."""

STARVED = 0.25
"""Share of the time that a starved worker runs."""

DELAY = 0.15
"""Seconds that the slow link takes, each way."""


@dataclass(frozen=True)
class PlannedFault:
    """One fault: its kind, its moment, how long it lasts and which worker it strikes."""

    kind: str
    after: float
    """Seconds after the previous fault was over."""
    lasts: float
    worker: int


def plan_trips(chance: random.Random, count: int, faults: int) -> list[PlannedTrip]:
    """Return a crowd that comes at once, and callers who come before each of the faults."""
    cancels: list[Cancel] = [
        "under way, by Temporal",
        "under way, by API",
        "once booked",
        "once forgotten",
        "never",
    ]
    trips = []
    for number in range(count):
        items: dict[str, str] = {kind: f"valid-{kind}-{number}" for kind in KINDS}
        if chance.random() < 0.25:
            items[chance.choice(KINDS)] = f"invalid-{number}"
        trips.append(
            PlannedTrip(
                name=f"Traveller {number}",
                items=items,
                comes_before=0 if number < FIRST_CROWD * count else chance.randrange(faults),
                asks_after=chance.uniform(0, 1.5),
                cancel=chance.choices(cancels, [10, 10, 10, 10, 60])[0],
                cancel_after=chance.uniform(0, 4),
                forgotten=chance.random() < 0.5,
            )
        )
    return trips


def plan_faults(chance: random.Random, seconds: float, database: Database) -> list[PlannedFault]:
    """Return faults for so many seconds, and at least one of each kind."""
    other = "PostgreSQL" if database == "sqlite" else "SQLite"
    kinds = [kind for kind in FAULTS if other not in kind]
    faults: list[PlannedFault] = []
    while sum(fault.after + fault.lasts for fault in faults) < seconds:
        for kind in chance.sample(kinds, len(kinds)):
            after, lasts = chance.uniform(0.5, 2.5), chance.uniform(0, 2)
            faults.append(PlannedFault(kind, after, lasts, chance.randrange(2)))
    return faults


class Chaos(Agreement):
    """One run over one service."""

    def __init__(
        self, running: Service, client: Client, trips: Iterable[PlannedTrip], link: Link
    ) -> None:
        super().__init__(running, client, trips)
        self.link = link
        """Between the second worker and Temporal."""
        self.deleted: set[str] = set()
        """The workflows that Temporal was asked to delete."""
        self.faults: list[tuple[str, dt.datetime]] = []
        self._callers_gone = asyncio.Event()
        self._turns: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    # Callers

    async def call(self, trip: PlannedTrip) -> None:
        """Ask for a trip until there is an answer, and cancel it if so planned."""
        await self._turns[trip.comes_before].wait()
        await asyncio.sleep(trip.asks_after)
        headers = trip.headers
        if trip.cancel.startswith("under way"):
            headers |= {"Prefer": "respond-async"}
        answer = await self.insist("POST", "/book", trip.body, headers)
        if answer.status not in (200, 202):
            return  # The violation is noted; the audit tells what became of the trip.
        user_id = answer.body["user_id"]
        if user_id != trip.trip_id:
            self.violate("double-booked", trip.name, f"is {user_id} as well as {trip.trip_id}")
        self.answers[user_id] = answer
        self.note_outcome(user_id, answer)
        if trip.cancel == "never":
            return
        if trip.cancel.startswith("once") and await self.outcome(user_id) != "booked":
            return
        if trip.cancel == "once forgotten":
            async with asyncio.timeout(SETTLED_WITHIN):
                while user_id not in self.forgotten:
                    await asyncio.sleep(PATIENCE)
        await asyncio.sleep(trip.cancel_after)
        if trip.cancel == "under way, by Temporal":
            with contextlib.suppress(RPCError):  # It has ended already.
                await persistently(self.client.get_workflow_handle(user_id).cancel)
            return
        await self.insist("POST", f"/bookings/{user_id}/cancel")
        self.cancelled.add(user_id)

    async def outcome(self, user_id: str) -> str:
        """Wait until the API calls the trip closed and return its status.

        `unknown`: it does not tell, which is noted as a violation.
        """
        while True:
            answer = await self.insist("GET", f"/bookings/{user_id}?wait=5")
            if answer.status != 200:
                return "unknown"
            if answer.body["closed_at"] is not None:
                return str(answer.body["status"])

    # Retention

    async def forget(self) -> None:
        """Have Temporal forget the workflows that are to be forgotten, until no caller is left."""
        async with asyncio.TaskGroup() as tasks:
            while not self._callers_gone.is_set():
                for workflow_id in await self.closed_workflows():
                    if workflow_id not in self.deleted and self._is_to_be_forgotten(workflow_id):
                        self.deleted.add(workflow_id)
                        tasks.create_task(self._forget(workflow_id))
                await asyncio.sleep(PATIENCE)

    def callers_are_gone(self) -> None:
        """Note that nobody waits for anything to be forgotten any more."""
        self._callers_gone.set()

    def _is_to_be_forgotten(self, workflow_id: str) -> bool:
        cancelled = cancelled_trip(workflow_id)
        trip = self.trips.get(cancelled or workflow_id)
        if trip is None:
            return False
        # Of each trip either the one, or the other, or both, or none is forgotten.
        if cancelled:
            return random.Random(workflow_id).random() < 0.5
        return trip.forgotten or trip.cancel == "once forgotten"

    async def _forget(self, workflow_id: str) -> None:
        """Delete a closed workflow, and use its trip's key again once it is gone."""
        ending = await self.ending(workflow_id)
        if ending is None:
            self.violate("lost", workflow_id, "is gone from Temporal by itself")
            return
        await self._delete(workflow_id)
        end = time.monotonic() + FORGOTTEN_WITHIN
        while await self.describe(workflow_id) is not None:
            if time.monotonic() > end:  # Temporal went down in the middle of it, say.
                await self._delete(workflow_id)
                end = time.monotonic() + FORGOTTEN_WITHIN
            await asyncio.sleep(PATIENCE)
        self.forgotten[workflow_id] = ending
        await self.use_key_again(self.trips[cancelled_trip(workflow_id) or workflow_id])

    async def _delete(self, workflow_id: str) -> None:
        request = DeleteWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )

        async def delete() -> None:
            await self.client.workflow_service.delete_workflow_execution(request)

        with contextlib.suppress(RPCError):  # It is gone already.
            await persistently(delete)

    # Faults

    async def cause(self, faults: Iterable[PlannedFault]) -> None:
        """Cause one fault after the other."""
        for number, fault in enumerate(faults):
            self._turns[number].set()
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
        written = len(worker.output)
        code = await asyncio.to_thread(worker.stop)
        if code or "Traceback" in worker.output[written:]:
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
            closed = [
                await self.ending(workflow_id) for workflow_id in await self.closed_workflows(since)
            ]
            if any(each and each.began < since and each.status != "booked" for each in closed):
                break
            await asyncio.sleep(PATIENCE)
        await asyncio.sleep(fault.lasts)
        worker.thaw()

    async def starve(self, fault: PlannedFault) -> None:
        """Let a worker run in short turns only."""
        with held_to(self.service.workers[fault.worker], STARVED, period=0.2):
            await asyncio.sleep(2 + fault.lasts)

    async def slow_the_link(self, fault: PlannedFault) -> None:
        """Move the second worker far away from Temporal."""
        self.link.delay = DELAY
        await asyncio.sleep(2 + fault.lasts)
        self.link.delay = 0.0

    async def freeze_postgres(self, fault: PlannedFault) -> None:
        """Freeze the server with all its processes."""
        assert self.service.postgres
        server = psutil.Process(self.service.postgres.pid)
        server.suspend()
        children = server.children(recursive=True)
        for child in children:
            child.suspend()
        await asyncio.sleep(DATABASE_AWAY + 2 * fault.lasts)
        for process in (*children, server):
            process.resume()

    async def restart_postgres(self, fault: PlannedFault) -> None:
        """Stop the server in order, which ends all connections, and start it again."""
        assert self.service.postgres
        await asyncio.to_thread(self.service.postgres.stop, signal.SIGINT)
        await asyncio.sleep(fault.lasts)
        self.service.postgres.start()

    async def lock_sqlite(self, fault: PlannedFault) -> None:
        """Hold SQLite's one write lock, as somebody does who forgets a transaction."""
        seconds = DATABASE_AWAY + 2 * fault.lasts

        def hold() -> None:
            path = self.service.database_url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                connection.execute("ROLLBACK")

        await asyncio.to_thread(hold)


FAULTS: dict[str, Callable[[Chaos, PlannedFault], Awaitable[None]]] = {
    "kill -9 of a worker": Chaos.kill_worker,
    "kill -9 of both workers": Chaos.kill_workers,
    "kill -9 of the API": Chaos.kill_api,
    "kill -9 of Temporal": Chaos.kill_temporal,
    "kill -9 of PostgreSQL": Chaos.kill_postgres,
    "a worker frozen past its heartbeats": Chaos.freeze_past_heartbeats,
    "a worker frozen past an undo": Chaos.freeze_past_undo,
    "SIGTERM to a worker": Chaos.stop_worker,
    "a starved worker": Chaos.starve,
    "a slow link to Temporal": Chaos.slow_the_link,
    "PostgreSQL frozen": Chaos.freeze_postgres,
    "PostgreSQL restarted": Chaos.restart_postgres,
    "SQLite locked": Chaos.lock_sqlite,
}


async def run(
    running: Service, link: Link, trips: list[PlannedTrip], faults: list[PlannedFault]
) -> bool:
    """Run trips and faults over a started service, audit, report; return whether all is well."""
    # Each caller waits for its answer in a thread of its own.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(trips) + 64))
    chaos = Chaos(running, await Client.connect(running.temporal_address), trips, link)
    begun = time.monotonic()
    async with asyncio.TaskGroup() as forgetting:
        forgetting.create_task(chaos.forget())
        async with asyncio.TaskGroup() as tasks:
            for trip in trips:
                tasks.create_task(chaos.call(trip))
            tasks.create_task(chaos.cause(faults))
        chaos.callers_are_gone()
    await chaos.settle()
    endings = await chaos.audit()
    _write(report(chaos, endings, time.monotonic() - begun))
    return not chaos.violations


@contextmanager
def with_link(running: Service) -> Iterator[Link]:
    """Put a line that may be slow between the second worker and Temporal."""
    port = free_port()
    running.processes.remove(running.workers[1])
    running.workers[1] = running.python(
        "worker-2", "run_worker.py", TEMPORAL_ADDRESS=f"127.0.0.1:{port}"
    )
    with slow_link(port, running.temporal_port, delay=0.0) as link:
        yield link


def report(chaos: Chaos, endings: list[Ending], seconds: float) -> list[str]:
    """Return, for each kind of fault, what became of the trips that ran when it struck.

    A trip's delay is the time from the fault to the trip's end.
    """
    struck: dict[str, list[list[tuple[Ending, float]]]] = defaultdict(list)
    for kind, moment in chaos.faults:
        struck[kind].append(
            [
                (ending, (ending.closed - moment).total_seconds())
                for ending in endings
                if ending.began < moment < ending.closed
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
        ids = {trip.workflow_id for trip, _ in running}
        ids |= {chaos.trips[trip_id].name for trip_id in ids}
        wrong = Counter(violation for violation, subject, _ in chaos.violations if subject in ids)
        counts = [wrong["lost"], wrong["half-booked"], wrong["double-booked"]]
        longest = max((delay for _, delay in running), default=0.0)
        lines.append(row(kind, len(times), len(running), *counts, f"{longest:.1f} s"))
    wrong = Counter(violation for violation, _, _ in chaos.violations)
    counts = [wrong["lost"], wrong["half-booked"], wrong["double-booked"]]
    lines.append(row("all trips", len(chaos.faults), len(endings), *counts, ""))
    ends = Counter(ending.status for ending in endings)
    logs = [worker.log.read_text() for worker in chaos.service.workers]
    late = sum(log.count("was undone already") for log in logs)
    mended = chaos.service.api.log.read_text().count("Audit: trip")
    lines.append(
        f"{', '.join(f'{count} {status}' for status, count in sorted(ends.items()))};"
        f" {len(chaos.cancelled)} cancellations through the API; {late} late tries refused;"
        f" {len(chaos.forgotten)} workflows forgotten;"
        f" {len(chaos.cancelled_at_the_end)} cancelled while the ending was recorded;"
        f" {mended} trips mended by the API's audit; {seconds:.0f} s"
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
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A terminated run must clean up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated"))
    well = True
    for database in options.database or ["sqlite", "postgresql"]:
        _write([f"Chaos over {database}, --seed {options.seed}"])
        chance = random.Random(options.seed)
        faults = plan_faults(chance, options.seconds, database)
        trips = plan_trips(chance, options.trips, len(faults))
        with (
            service(database, FAST_TIMERS + FAST_FORGETTING, **SETTINGS) as running,
            with_link(running) as link,
        ):
            running.start(workers=2)
            well &= asyncio.run(run(running, link, trips, faults))
    sys.exit(not well)


if __name__ == "__main__":
    main()
