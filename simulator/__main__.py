"""`python -m simulator`: reads the command line, serves until it is told to stop."""

import os
import signal

if __name__ == "__main__":
    # As in the other processes: an order to stop that comes during the imports is obeyed.
    for early in (signal.SIGINT, signal.SIGTERM):
        signal.signal(early, lambda *_: os._exit(0))

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import math
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvloop
from aiohttp import web
from sqlalchemy.exc import DBAPIError

from shared import KINDS
from simulator.answers import SimulatedSuppliers
from simulator.behaviour import Mode, SimulatedFaults
from simulator.service import SimulatorService
from simulator.stock import Stock

logger = logging.getLogger("suppliers")

PROJECT = Path(__file__).parents[1]

BACKLOG = 4_096
"""Connections that may wait to be taken up: a thousand callers come at once."""

OPEN_FILES = 16_384
"""Each caller that waits for an answer needs one. Many systems allow 1,024 unless asked."""

BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, 2.1."""


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most or math.isnan(value):
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
        return value

    return number


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _token(text: str) -> str:
    if not BEARER_TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError("has letters, digits and -._~+/ only, and = at its end")
    return text


def _arguments() -> argparse.Namespace:
    parser = _OneLineParser(
        "python -m simulator",
        description="Suppliers of every kind, simulated. What is not said is as it was last time.",
        allow_abbrev=False,
    )
    add, seconds = parser.add_argument, _number(0, 86_400)
    add("--host", default="127.0.0.1")
    add("--port", type=_port, default=3001)
    add("--database", default="suppliers.db", help="a file, relative to the project's folder")
    add("--token", type=_token, help="what callers must send as a Bearer token")
    add("--no-idempotency", action="store_true", help="each PUT is a reservation of its own")
    add("--no-tombstones", action="store_true", help="a PUT after a DELETE books again")
    add("--late-seconds", type=seconds, help="how late the late bookings are (4)")
    add("--faults", type=_number(0, 1), metavar="SHARE", help="of the calls that are broken (0)")
    add("--seed", type=int, help="of the faults")
    add("--slow-seconds", type=seconds, default=5.0, help="how long the slow ones take")
    add("--pending-seconds", type=seconds, default=3.0, help="how long the undecided take")
    return parser.parse_args()


def _service(stock: Stock, arguments: argparse.Namespace) -> SimulatorService:
    """Keep what the command line says of mode and faults. Raises `DBAPIError`."""
    said: dict[str, bool | float] = {}
    if arguments.no_idempotency:
        said["idempotent"] = False
    if arguments.no_tombstones:
        said["tombstones"] = False
    if arguments.late_seconds is not None:
        said["late_seconds"] = arguments.late_seconds
    mode = stock.setting(Mode()).model_copy(update=said)
    stock.keep(mode)
    if arguments.faults is not None:
        stock.keep(SimulatedFaults(share=arguments.faults))
    suppliers = SimulatedSuppliers(stock, mode, arguments.pending_seconds)
    return SimulatorService(suppliers, arguments.token, arguments.slow_seconds, arguments.seed)


async def _serve(service: SimulatorService, host: str, port: int) -> None:
    """Serve until told to stop. Raises `OSError` when it cannot listen at the address."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    runner = web.AppRunner(service.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    base = f"http://{_authority(host)}:{port}"
    logger.info("Suppliers at %s", ", ".join(f"{base}/{kind}s" for kind in KINDS))
    await told.wait()


def _authority(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Run the suppliers' process."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _allow_open_files()
    try:
        with contextlib.closing(Stock.open(PROJECT / arguments.database)) as stock:
            service = _service(stock, arguments)
            uvloop.run(_serve(service, arguments.host, arguments.port))
    except DBAPIError as error:
        sys.exit(f"{arguments.database} cannot be opened: {error.orig}")
    except OSError as error:
        sys.exit(f"Nobody can listen at {arguments.host}:{arguments.port}: {error.strerror}")
    # Calls under way are cut off. The stock keeps whatever they have done.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
