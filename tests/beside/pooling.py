"""A pooler before PostgreSQL, and what must work over it."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.processes import DEADLINE, ROOT, Process, bare_environment, postgres, service

TRIP = {"name": "Ada", "car": "car-1", "hotel": "hotel-1", "flight": "flight-1"}


@contextmanager
def pooled(
    pooler_before: Callable[[Path, Process], tuple[Process, int]], ready: str
) -> Iterator[tuple[str, str]]:
    """Start PostgreSQL and a pooler before it; yield the URLs of the pool and of the server.

    `pooler_before` returns the pooler and its port, given a folder and the server. The pooler says
    `ready` once it is.
    """
    with tempfile.TemporaryDirectory(prefix="trip-booking-pooler-") as name:
        folder = Path(name)
        server = postgres(folder)
        server.start()
        try:
            server.wait_for_output("ready to accept")
            pooler, port = pooler_before(folder, server)
            pooler.start()
            try:
                pooler.wait_for_output(ready)
                yield (
                    f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
                    f"postgresql+psycopg://postgres@/postgres?host={server.log.parent}",
                )
            finally:
                pooler.kill()
        finally:
            server.kill()


def user_of(server: Process) -> str:
    """Return who runs the server. Its folder is open to nobody else."""
    return psutil.Process(server.pid).username()


def migrate(url: str) -> None:
    """Migrate the database at `url`."""
    migrated = subprocess.run(
        [sys.executable, "-m", "record"],
        cwd=ROOT,
        env=bare_environment() | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert migrated.returncode == 0, migrated.stderr


def book_at_once(url: str, trips: int) -> None:
    """Book so many trips at once over the database at `url`: every one is booked."""
    with service(DATABASE_URL=url) as booking:
        booking.start()
        with ThreadPoolExecutor(trips) as callers:
            answers = list(
                callers.map(lambda _: booking.request("POST", "/book", TRIP), range(trips))
            )
        assert [(each.status, each.body["cancelled"]) for each in answers] == [(200, False)] * trips
