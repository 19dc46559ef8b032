"""Brings the record's schema up to date: `python -m record`, which is `make migrate`.

`python -m record hand-over --from=OLD --to=NEW`, which is `make handover`, hands the trips of an
owner to another one.
"""

import argparse
import asyncio
import logging
import re
import sys

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lifecycle import stop_at_once_when_told
from record import Record, RecordError
from settings import Settings, load_settings
from shared import CALLER_NAME, log_in_lines, one_line

logger = logging.getLogger(__name__)


async def migrate(settings: Settings) -> None:
    """Migrate the database."""
    async with Record.open(settings.database_url.get_secret_value()) as record:
        await record.database.migrate()
    logger.info("The record's schema is up to date")


async def hand_over(settings: Settings, old: str, new: str) -> None:
    """Hand all trips of `old` to `new`. If it is cut off, the next run goes on.

    Raises `SystemExit` with one line when `new` cannot be a new owner's name.
    """
    if new == old or not re.fullmatch(CALLER_NAME, new):
        sys.exit(f"Nothing is handed over: {new!r} is not another name that API_KEYS may have")
    total, some = 0, 1
    # The bar is shown in a terminal only.
    with logging_redirect_tqdm(), tqdm(desc="Handed over", unit=" trips", disable=None) as shown:
        async with Record.open(settings.database_url.get_secret_value()) as record:
            while some:
                some, doubles = await record.owners.hand_over(old, new)
                total += some
                shown.update(some)
                for pair in doubles:
                    logger.info(
                        "Trip %s loses its key to %s. Cancel one if both are one trip", *pair
                    )
                await asyncio.sleep(0.05)  # Others write.
    logger.info("Trips of %r that were handed over to %r: %d", old, new, total)
    keys = settings.api_keys.get_secret_value()
    if keys and not re.search(rf"(^|,)\s*{new}:[^,:]+(:operator)?\s*(,|$)", keys):
        logger.warning("API_KEYS has no key of %r, so only operators see its trips", new)


def main() -> None:
    """Do what the command line says. Raises `SystemExit` with one line if it cannot.

    A signal ends it at once, whatever it waits for: a migration is one transaction, and leaves the
    database as it was. A hand-over goes on when it is run again.
    """
    stop_at_once_when_told()
    parser = argparse.ArgumentParser("python -m record", description="Migrate the record.")
    command = parser.add_subparsers().add_parser("hand-over", help="hand trips to another owner")
    command.add_argument("--from", dest="old", required=True, help="the old owner, '' for none")
    command.add_argument("--to", dest="new", required=True, help="the new owner")
    told = vars(parser.parse_args())
    log_in_lines(logging.INFO)
    settings = load_settings()
    try:
        asyncio.run(hand_over(settings, **told) if told else migrate(settings))
    except RecordError as error:
        sys.exit(one_line(error.explained()))


if __name__ == "__main__":
    main()
