"""A worker as the SDK makes it by default, with the project's workflows, activities and record.

The baseline that `run_worker.py` is compared with: the same work and the same log lines, but no
setting, no interceptor and no event loop other than Python's own.
"""

import asyncio
import logging

from temporalio.client import Client
from temporalio.worker import Worker

import suppliers
from connection import temporal_config
from record import Record
from run_worker import ACTIVITIES, WORKFLOWS
from settings import load_settings
from shared import TASK_QUEUE_NAME
from telemetry import configure_logging


async def run() -> None:
    """Work until killed."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    client = await Client.connect(**temporal_config())
    async with Record.open(settings.database_url.get_secret_value()) as record:
        await record.database.prepare()
        suppliers.composition.set(suppliers.compose(record, settings))
        worker = Worker(
            client, task_queue=TASK_QUEUE_NAME, workflows=WORKFLOWS, activities=ACTIVITIES
        )
        async with worker:
            logging.getLogger("worker").info("Polling task queue %s", TASK_QUEUE_NAME)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run())
