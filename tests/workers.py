"""The product's own worker, in the tests' process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

import activities
from run_worker import create_worker
from settings import Settings
from suppliers import Suppliers


@asynccontextmanager
async def running_worker(client: Client, suppliers: Suppliers) -> AsyncIterator[None]:
    """Run the product's own worker in this process."""
    activities.suppliers.set(suppliers)
    async with create_worker(client, Settings(worker_grace_seconds=1, workflow_sandbox=True)):
        yield
