"""Audits now: `python -m audit`, which is `make audit`; `--all`: every trip.

Without it, those that have changed since the last audit, and all that are open. It writes each
difference on a line and exits with 0 if there is none, 1 if there are, 2 if not all could be asked.
"""

import argparse
import asyncio
import logging
import sys

from temporalio.envconfig import ClientConnectConfig
from tqdm import tqdm

from audit import Auditor, Tally
from bookings import BookingsError
from connection import encryption_of, lazy_client, temporal_config
from lifecycle import leave, stop_at_once_when_told
from record import Record, RecordError
from settings import Settings, load_settings
from shared import log_in_lines, one_line
from suppliers import compose

logger = logging.getLogger("audit")

SAME, DIFFERENT, NOT_ASKED = 0, 1, 2
"""Exit codes."""


async def audit(settings: Settings, config: ClientConnectConfig, everything: bool) -> Tally:
    """Audit once, and write what is found as it is found.

    Raises `BookingsError` when Temporal cannot be asked, and `RecordError`.
    """
    client = await lazy_client(config, encryption_of(settings.payload_keys))
    async with Record.open(settings.database_url.get_secret_value()) as record:
        composition = compose(record, settings)
        auditor = Auditor(
            client, record, composition.desks, settings.saga_policy, settings.calls_per_second
        )
        trips = await record.trips.count() if everything else None
        try:
            # Only in a terminal.
            with tqdm(desc="Looked at", total=trips, unit=" trips", disable=None) as shown:
                tally = Tally(told=lambda each: _write(str(each)), seen=shown.update)
                await auditor.audit(tally, everything=everything)
        finally:
            await composition.close()
    return tally


def _write(*lines: str) -> None:
    with tqdm.external_write_mode():
        sys.stdout.writelines(f"{one_line(line)}\n" for line in lines)
        sys.stdout.flush()


def _summary(tally: Tally) -> list[str]:
    lines = [f"{tally}."]
    if tally.not_compared:
        kinds = ", ".join(sorted(tally.away))
        away = f" The suppliers of {kinds} could not be asked." if kinds else ""
        lines.append(f"Trips left to the next audit: {tally.not_compared}.{away}")
    if tally.odd:
        lines.append(f"Trips of which nothing can be made, as logged above: {tally.odd}.")
    if tally.elsewhere:
        lines.append(f"Reservations at suppliers that are not set up: {tally.elsewhere}.")
    return lines


def main() -> None:
    """Audit, and exit with the code that says how it went."""
    stop_at_once_when_told()
    parser = argparse.ArgumentParser("python -m audit", description="Audit the trips.")
    parser.add_argument("--all", action="store_true", help="every trip, not only what has changed")
    everything = parser.parse_args().all
    log_in_lines(logging.ERROR)
    settings, config = load_settings(), temporal_config()
    try:
        tally = asyncio.run(audit(settings, config, everything))
    except (BookingsError, RecordError) as error:
        why = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        sys.stderr.write(f"Cannot audit: {one_line(' '.join(why.split()))}\n")
        leave(NOT_ASKED)
    except Exception:
        # The interpreter's own exit code for it would say that there are differences.
        logger.exception("Cannot audit")
        leave(NOT_ASKED)
    _write(*_summary(tally))
    if tally.differences:
        leave(DIFFERENT)
    leave(NOT_ASKED if tally.away or tally.odd else SAME)


if __name__ == "__main__":
    main()
