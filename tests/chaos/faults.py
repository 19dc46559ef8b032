"""What befalls the processes of a run of chaos: how each kind of fault is caused, and ended."""

import asyncio
import datetime as dt
import logging
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass

import psutil

from tests.chaos.asking import PATIENCE, Asking
from tests.chaos.plans import PlannedFault
from tests.chaos.suppliers import FROZEN, Suppliers
from tests.processes import Database, Process, Service
from tests.slowness import Link, held_to

logger = logging.getLogger("chaos")

HEARTBEAT_TIMEOUT = 1.0
"""Seconds; the service's setting."""

FROZEN_AT_MOST = 15.0
"""Seconds after which a worker frozen "past an undo" is thawed even if nothing was undone."""

DATABASE_AWAY = 2.5
"""Seconds, and up to two more times the fault's own, that a database is frozen or locked: within
the record's limits, and past them."""

STARVED = 0.25
"""Share of the time that a starved worker runs."""

DELAY = 0.15
"""Seconds that the slow link takes, each way."""

OF_SUPPLIERS = ("kill -9 of the suppliers", "the suppliers frozen")
"""The kinds of faults that befall suppliers which are a service of their own."""


@dataclass(frozen=True)
class Faults:
    """Causes faults in one service."""

    service: Service
    asking: Asking
    link: Link
    """Between the second worker and Temporal."""
    outside: Suppliers | None

    async def cause(self, fault: PlannedFault) -> None:
        """Cause a fault, and end it."""
        logger.info("%s (%.1f s)", fault.kind, fault.lasts)
        await FAULTS[fault.kind](self, fault)

    async def kill(self, fault: PlannedFault, *processes: Process | None) -> None:
        """`kill -9` processes with their children, and start them again."""
        there = [process for process in processes if process]
        for process in there:
            process.kill()
        await asyncio.sleep(fault.lasts)
        for process in there:
            process.start()

    async def stop_worker(self, fault: PlannedFault) -> None:
        """An orderly stop, as at a deployment."""
        worker = self.service.workers[fault.worker]
        # One that was started a moment ago does not listen for signals before it polls.
        await asyncio.to_thread(worker.wait_for_output, "Polling task queue")
        written = len(worker.output)
        code = await asyncio.to_thread(worker.stop)
        if code or "Traceback" in worker.output[written:]:
            self.asking.violate("other", worker.name, f"stopped with exit code {code}")
        await asyncio.sleep(fault.lasts)
        worker.start()

    async def freeze_past_heartbeats(self, fault: PlannedFault) -> None:
        """Freeze a worker until its tries have timed out."""
        worker = self.service.workers[fault.worker]
        worker.freeze()
        await asyncio.sleep(HEARTBEAT_TIMEOUT + fault.lasts)
        worker.thaw()

    async def freeze_past_undo(self, fault: PlannedFault) -> None:
        """Freeze a worker until a trip that ran then has ended with nothing held."""
        worker = self.service.workers[fault.worker]
        worker.freeze()
        since = dt.datetime.now(dt.UTC)
        while (dt.datetime.now(dt.UTC) - since).total_seconds() < FROZEN_AT_MOST:
            closed = [
                await self.asking.ending(workflow_id)
                for workflow_id in await self.asking.closed_workflows(since)
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

    async def freeze_suppliers(self, fault: PlannedFault) -> None:
        """Freeze them until the calls that were under way have timed out."""
        assert self.outside
        self.outside.process.freeze()
        await asyncio.sleep(FROZEN + fault.lasts / 4)
        self.outside.process.thaw()


FAULTS: dict[str, Callable[[Faults, PlannedFault], Awaitable[None]]] = {
    "kill -9 of a worker": lambda its, fault: its.kill(fault, its.service.workers[fault.worker]),
    "kill -9 of both workers": lambda its, fault: its.kill(fault, *its.service.workers),
    "kill -9 of the API": lambda its, fault: its.kill(fault, its.service.api),
    "kill -9 of Temporal": lambda its, fault: its.kill(fault, its.service.temporal),
    "kill -9 of PostgreSQL": lambda its, fault: its.kill(fault, its.service.postgres),
    "a worker frozen past its heartbeats": Faults.freeze_past_heartbeats,
    "a worker frozen past an undo": Faults.freeze_past_undo,
    "SIGTERM to a worker": Faults.stop_worker,
    "a starved worker": Faults.starve,
    "a slow link to Temporal": Faults.slow_the_link,
    "PostgreSQL frozen": Faults.freeze_postgres,
    "PostgreSQL restarted": Faults.restart_postgres,
    "SQLite locked": Faults.lock_sqlite,
    "kill -9 of the suppliers": lambda its, fault: its.kill(
        fault, its.outside.process if its.outside else None
    ),
    "the suppliers frozen": Faults.freeze_suppliers,
}


def kinds_of_faults(database: Database) -> list[str]:
    """Return the kinds that befall the service over a database, its suppliers left aside."""
    other = "PostgreSQL" if database == "sqlite" else "SQLite"
    return [kind for kind in FAULTS if other not in kind and kind not in OF_SUPPLIERS]
