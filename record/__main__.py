"""Brings the record's schema up to date: `python -m record`, which is `make migrate`."""

import asyncio
import logging
import sys

from lifecycle import stop_at_once_when_told
from record import Record, RecordError
from settings import load_settings


async def migrate(database_url: str) -> None:
    """Migrate the database at `database_url`."""
    async with Record.open(database_url) as record:
        await record.database.migrate()


def main() -> None:
    """Migrate the database of the settings. Raises `SystemExit` with one line if it cannot.

    A signal ends it at once, whatever it waits for: a migration is one transaction, and leaves the
    database as it was.
    """
    stop_at_once_when_told()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(migrate(load_settings().database_url))
    except RecordError as error:
        sys.exit(error.explained())
    logging.getLogger(__name__).info("The record's schema is up to date")


if __name__ == "__main__":
    main()
