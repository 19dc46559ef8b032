"""`python -m simulator`: reads the command line, serves until it is told to stop."""

import argparse
import asyncio
import contextlib
import logging
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web
from yarl import URL

from lifecycle import allow_open_files, leave, run_until_told
from shared import KINDS, log_in_lines
from simulator.answers import SimulatedSuppliers
from simulator.behaviour import Mode, SimulatedFaults
from simulator.service import SimulatorService
from simulator.stock import Stock

logger = logging.getLogger("suppliers")

PROJECT = Path(__file__).parents[1]

BACKLOG = 4_096
"""Connections that may wait to be taken up: a thousand callers come at once."""


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
        return value

    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m simulator",
        description="Suppliers of every kind, simulated.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, seconds = parser.add_argument, _number(0, 86_400)
    add("--host", default="127.0.0.1", help="where it listens")
    add("--port", type=_number(1, 65_535), default=3001, help="where it listens")
    add("--database", default="suppliers.db", help="a file, relative to the project's folder")
    add("--token", help="what callers must send as a Bearer token")
    add("--no-idempotency", action="store_true", help="each PUT is a reservation of its own")
    add("--no-tombstones", action="store_true", help="a PUT after a DELETE books again")
    add("--late-seconds", type=seconds, default=4.0, help="how late the late bookings are")
    add("--longest-hold", type=seconds, default=86_400.0, help="how long they hold at the most")
    add("--clock-ahead", type=_number(-3_600, 3_600), default=0.0, help="how wrong their clock is")
    add("--faults", type=_number(0, 1), default=0.0, help="share of the calls that are broken")
    add("--seed", type=int, help="of the faults")
    add("--slow-seconds", type=seconds, default=5.0, help="how long the slow ones take")
    add("--pending-seconds", type=seconds, default=3.0, help="how long the undecided take")
    return parser.parse_args()


def _service(stock: Stock, given: argparse.Namespace) -> SimulatorService:
    mode = Mode(
        idempotent=not given.no_idempotency,
        tombstones=not given.no_tombstones,
        late_seconds=given.late_seconds,
        longest_hold=given.longest_hold,
        clock_ahead=given.clock_ahead,
    )
    suppliers = SimulatedSuppliers(stock, mode, given.pending_seconds)
    faults = SimulatedFaults(share=given.faults)
    return SimulatorService(suppliers, given.token, given.slow_seconds, faults, given.seed)


async def _serve(service: SimulatorService, host: str, port: int) -> None:
    """Serve until cancelled. Raises `OSError` if it cannot listen there."""
    runner = web.AppRunner(service.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    base = URL.build(scheme="http", host=host, port=port)
    logger.info("Suppliers at %s", ", ".join(str(base / f"{kind}s") for kind in KINDS))
    await asyncio.Event().wait()


def main() -> None:
    """Run the suppliers' process."""
    arguments = _arguments()
    host, port = arguments.host, int(arguments.port)
    log_in_lines(logging.INFO, "%(asctime)s %(levelname)s %(message)s")
    allow_open_files()
    try:
        with contextlib.closing(Stock(PROJECT / arguments.database)) as stock:
            uvloop.run(run_until_told(_serve(_service(stock, arguments), host, port)))
    except sqlite3.Error as error:
        sys.exit(f"{arguments.database} cannot be opened: {error}")
    except OSError as error:
        sys.exit(f"The simulator cannot listen at {host}:{port}: {error.strerror}")
    # Calls under way are cut off: the file keeps whatever they have done.
    leave()


if __name__ == "__main__":
    main()
