"""The product's own worker, in the tests' process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client

from record import Record
from run_worker import create_worker, create_workers
from settings import Settings
from suppliers import Desks, compose, composition


def work_with(record: Record, desks: Desks | None = None, **settings: Any) -> Settings:
    """Have the activities work with a record and, if none are given, the embedded suppliers.

    Their hotel answers at once unless `settings` say otherwise.
    """
    values: dict[str, Any] = {"hotel_latency_seconds": 0, "hotel_outage_attempts": 0, **settings}
    chosen = Settings(worker_grace_seconds=1, **values)
    composed = compose(record, chosen)
    if desks is not None:
        composed = composed._replace(desks=desks)
    composition.set(composed)
    return chosen


@asynccontextmanager
async def running_worker(
    client: Client, record: Record, desks: Desks | None = None, **settings: Any
) -> AsyncIterator[None]:
    """Run the product's own worker in this process, as `work_with` says."""
    async with create_worker(client, work_with(record, desks, **settings)):
        yield


@asynccontextmanager
async def running_all(client: Client, settings: Settings) -> AsyncIterator[None]:
    """Run all the workers of a worker process."""
    workers = create_workers(client, settings)
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*running)
