"""The product's own worker, in the tests' process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

import activities
from record import Record
from run_worker import create_worker
from settings import Settings
from suppliers import Suppliers


@asynccontextmanager
async def running_worker(
    client: Client,
    record: Record,
    suppliers: Suppliers | None = None,
    *,
    hotel_outage_attempts: int = 0,
) -> AsyncIterator[None]:
    """Run the product's own worker in this process, over a record and, if none is given, with the
    embedded suppliers, whose hotel answers at once."""
    settings = Settings(
        worker_grace_seconds=1,
        workflow_sandbox=True,
        hotel_latency_seconds=0,
        hotel_outage_attempts=hotel_outage_attempts,
    )
    composed = activities.compose(record, settings)
    if suppliers is not None:
        composed = composed._replace(suppliers=suppliers)
    activities.composition.set(composed)
    async with create_worker(client, settings):
        yield
