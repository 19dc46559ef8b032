"""What becomes of trips whose worker is starved, far away, stopped or killed.

    python -m tests.hardship starved far killed locked

Everything runs with the product's own settings, on the dev server as the Procfile starts it, with
the simulated hotel as it comes. None of these trips may be rolled back: a try that is lost with its
worker, or that finds the record away, is no failure of the supplier. Exits with 1 if one was.
"""

import argparse
import asyncio
import sqlite3
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from run_worker import WORKFLOWS
from shared import KINDS
from tests.processes import Service, free_port, service
from tests.slowness import held_to, slow_link

PATIENCE = 400.0
"""Seconds within which all trips of a row must have ended."""

TRIP: dict[str, Any] = {"name": "T", **{str(kind): kind for kind in KINDS}}

SIMULATED_HOTEL: dict[str, Any] = {"HOTEL_LATENCY_SECONDS": 1, "HOTEL_OUTAGE_ATTEMPTS": 1}

Row = Callable[[argparse.Namespace], Iterator[str]]


def starved(options: argparse.Namespace) -> Iterator[str]:
    """Trips at once on one worker that is held to a quarter of a CPU."""
    for period in options.periods:
        with service(temporal_options=(), **SIMULATED_HOTEL) as running:
            running.start(workers=1)
            with held_to(running.workers[0], share=0.25, period=period):
                told = book_at_once(running, 300, attempts=2)
        yield f"300 trips, attempts 2, worker at 25% in periods of {period:g} s: {told}"


def far(options: argparse.Namespace) -> Iterator[str]:
    """README's trip on a worker that is 250 ms away from Temporal, each way."""
    with service(temporal_options=(), **SIMULATED_HOTEL) as running:
        port = free_port()
        running.workers[0] = running.python(
            "far-worker", "run_worker.py", TEMPORAL_ADDRESS=f"127.0.0.1:{port}"
        )
        with slow_link(port, running.temporal_port, delay=0.25):
            running.start(workers=1)
            yield f"1 trip, 250 ms each way: {book_at_once(running, 1, attempts=5)}"
            yield f"20 trips, 250 ms each way: {book_at_once(running, 20, attempts=2)}"


def killed(options: argparse.Namespace) -> Iterator[str]:
    """Trips of one attempt whose worker goes in the middle of the hotel."""
    for name in ("SIGKILL", "SIGTERM past its grace"):
        with service(
            temporal_options=(),
            HOTEL_LATENCY_SECONDS=3,
            HOTEL_OUTAGE_ATTEMPTS=0,
            WORKER_GRACE_SECONDS=0.5,
        ) as running:
            running.start(workers=1)

            def go(running: Service = running, name: str = name) -> None:
                time.sleep(1.5)
                running.workers[0].kill() if name == "SIGKILL" else running.workers[0].stop()
                running.workers[1].start()

            told = book_at_once(running, 20, attempts=1, meanwhile=go)
        yield f"20 trips, attempts 1, {name}: {told}"


def locked(options: argparse.Namespace) -> Iterator[str]:
    """Trips of one attempt whose record cannot be written for a while."""
    with service(temporal_options=(), HOTEL_LATENCY_SECONDS=3, HOTEL_OUTAGE_ATTEMPTS=0) as running:
        running.start(workers=1)
        path = running.database_url.removeprefix("sqlite:///")

        def lock() -> None:
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(20)
                connection.execute("ROLLBACK")

        told = book_at_once(running, 5, attempts=1, meanwhile=lock)
        yield f"5 trips, attempts 1, the record locked for 20 s: {told}"


def book_at_once(
    running: Service, count: int, attempts: int, meanwhile: Callable[[], None] = lambda: None
) -> str:
    """Book so many trips at once and tell what became of them."""
    return asyncio.run(_book_at_once(running, count, attempts, meanwhile))


async def _book_at_once(
    running: Service, count: int, attempts: int, meanwhile: Callable[[], None]
) -> str:
    client = await Client.connect(running.temporal_address)
    began = time.monotonic()
    before = (await client.count_workflows()).count
    places = asyncio.Semaphore(20)

    async def book() -> None:
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(uuid.uuid4())}
        async with places, asyncio.timeout(PATIENCE):
            # SQLite lets a writer wait too long while a worker is stopped that writes: then the API
            # answers 503, and a client repeats.
            while (
                answer := await asyncio.to_thread(
                    running.request, "POST", "/book", TRIP | {"attempts": attempts}, headers
                )
            ).status == 503:
                await asyncio.sleep(float(answer.headers["retry-after"]))
            assert answer.status == 202, answer

    await asyncio.gather(*(book() for _ in range(count)))
    await asyncio.to_thread(meanwhile)
    async with asyncio.timeout(PATIENCE):
        while (await client.count_workflows("ExecutionStatus != 'Running'")).count < before + count:
            await asyncio.sleep(0.2)
    took = time.monotonic() - began
    endings: Counter[str] = Counter()
    task_timeouts = longest = 0
    newest = [each async for each in client.list_workflows()][:count]
    assert {each.workflow_type for each in newest} <= {each.__name__ for each in WORKFLOWS}
    for execution in newest:
        handle = client.get_workflow_handle(execution.id)
        if execution.status == WorkflowExecutionStatus.COMPLETED:
            result = await handle.result()
            failed = result["status"] != "success"
            endings[f"rolled back: {result['message']}" if failed else "booked"] += 1
        else:
            endings[str(execution.status)] += 1
        async for event in handle.fetch_history_events():
            longest = max(longest, event.event_id)
            task_timeouts += event.HasField("workflow_task_timed_out_event_attributes")
            if event.HasField("activity_task_timed_out_event_attributes"):
                endings["tries lost"] += 1
    told = ", ".join(f"{number} {ending}" for ending, number in sorted(endings.items()))
    return (
        f"{told}; {task_timeouts} workflow tasks timed out;"
        f" {longest} events at the most; {took:.1f} s"
    )


ROWS: dict[str, Row] = {each.__name__: each for each in (starved, far, killed, locked)}


def main() -> None:
    """Print a line for each hardship."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=[*ROWS])
    parser.add_argument("--periods", nargs="*", type=float, default=[0.2, 1.0])
    options = parser.parse_args()
    lines = []
    for row in options.rows:
        for line in ROWS[row](options):
            lines.append(line)
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    sys.exit(any("rolled back" in line for line in lines))


if __name__ == "__main__":
    main()
