"""What is done to a record in several processes at once.

Each of them loads this file first: it imports no more than the record needs.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from record import Record, ReservationRefused
from record import database as limits
from tests.record.trips import trip


async def in_processes(
    processes: ProcessPoolExecutor, job: Callable[[str], None], database_url: str
) -> None:
    """Run the same job in four processes at the same time."""
    loop = asyncio.get_running_loop()
    jobs = [loop.run_in_executor(processes, job, database_url) for _ in range(4)]
    await asyncio.gather(*jobs)


def wait_for_each_other() -> None:
    """Have this process wait for a lock for longer than it would on a machine of its own."""
    limits.LOCK_LIMIT = limits.BUSY_LIMIT = limits.CALL_LIMIT = 60.0


def book(database_url: str) -> None:
    async def run() -> None:
        async with Record.open(database_url) as record:
            await record.reservations.reserve(trip(), "car")

    asyncio.run(run())


def migrate(database_url: str) -> None:
    async def run() -> None:
        async with Record.open(database_url) as record:
            await record.database.migrate()

    asyncio.run(run())


async def race(record: Record, other: Record, trips: int) -> None:
    """Reserve and cancel the same trips at the same time."""
    for number in range(trips):
        own = trip(f"trip-{number}")
        answers = await asyncio.gather(
            record.reservations.reserve(own, "car"),
            other.reservations.cancel(own, "car"),
            return_exceptions=True,
        )
        assert answers[1] is None
        assert answers[0] is None or isinstance(answers[0], ReservationRefused)
