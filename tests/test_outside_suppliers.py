"""Suppliers that are a service of their own, as real processes: crowds, and a frozen one."""

import asyncio
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared import KINDS
from tests.processes import (
    Process,
    Service,
    bare_environment,
    free_port,
    service,
    simulator,
    supplier_urls,
    wait_until,
)

pytestmark = pytest.mark.slow


@contextmanager
def at_suppliers(*options: str, **settings: Any) -> Iterator[Service]:
    """A service whose suppliers are a process of their own, all started."""
    port = free_port()
    with service(**{"UNDO_ATTEMPTS": 100, **supplier_urls(port), **settings}) as running:
        suppliers = running.simulated_suppliers("--port", str(port), *options)
        suppliers.start()
        suppliers.wait_for_output("Suppliers at")
        running.start(workers=2)
        yield running


async def book(session: aiohttp.ClientSession, number: int, **items: str) -> str:
    """Ask for a trip, and return its id at once."""
    valid: dict[str, str] = {kind: f"valid-{kind}" for kind in KINDS}
    body = {"name": f"Traveller {number}", "attempts": 50, **valid, **items}
    headers = {"Prefer": "respond-async", "Idempotency-Key": f"trip-{number}"}
    while True:
        async with session.post("/book", json=body, headers=headers) as answer:
            # A busy machine's Temporal is late.
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return str((await answer.json())["user_id"])
        await asyncio.sleep(0.2)


async def outcome(session: aiohttp.ClientSession, user_id: str, wait: float = 60) -> dict[str, Any]:
    """Wait until a trip has ended, and return what the look-up says."""
    while True:
        async with session.get(f"/bookings/{user_id}?wait={wait:g}") as answer:
            told: dict[str, Any] = await answer.json()
            if told.get("closed_at"):
                return told
        await asyncio.sleep(0.2)


def api(running: Service) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{running.api_port}", connector=aiohttp.TCPConnector(limit=100)
    )


async def test_a_worker_that_may_open_few_files_lets_calls_wait() -> None:
    with at_suppliers("--slow-seconds", "1") as running:
        for worker in running.workers:
            worker.stop()
        command = ["sh", "-c", f"ulimit -n 256 && exec {shlex.quote(sys.executable)} run_worker.py"]
        worker = running.workers[0]
        limited = Process("few files", command, worker.log, bare_environment() | running.settings)
        running.processes.append(limited)
        limited.start()
        limited.wait_for_output("Polling task queue")
        async with api(running) as session:
            trips = await asyncio.gather(
                *(book(session, number, car="slow-car", attempts="1") for number in range(300))
            )
            told = await asyncio.gather(*(outcome(session, trip) for trip in trips))
    assert Counter(trip["status"] for trip in told) == {"booked": 300}


async def test_a_frozen_supplier_harms_nobody_else_and_all_end_right_once_it_thaws(
    tmp_path: Path,
) -> None:
    hotels_at = free_port()
    url = supplier_urls(hotels_at)["HOTEL_SUPPLIER_URL"]
    with at_suppliers(HOTEL_SUPPLIER_URL=url) as running:
        hotels = simulator(tmp_path, "--port", str(hotels_at))
        running.processes.append(hotels)
        hotels.start()
        hotels.wait_for_output("Suppliers at")
        hotels.freeze()
        async with api(running) as session:
            waiting = await asyncio.gather(*(book(session, number) for number in range(200)))

            def at_the_hotel() -> bool:
                answer = running.request("GET", f"/bookings/{waiting[-1]}").body
                return bool(answer["steps"][1]["state"] == "booking")

            await asyncio.to_thread(wait_until, at_the_hotel, "the last one is at the hotel")
            doomed = [await book(session, number, car="invalid-car") for number in range(200, 220)]
            async with asyncio.timeout(120):
                ended = await asyncio.gather(*(outcome(session, trip) for trip in doomed))
            assert {trip["status"] for trip in ended} == {"rolled_back"}
            hotels.thaw()
            told = await asyncio.gather(*(outcome(session, trip) for trip in waiting))
    assert Counter(trip["status"] for trip in told) == {"booked": 200}
