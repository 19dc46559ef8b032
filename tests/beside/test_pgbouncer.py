"""The service over PgBouncer, as Debian has it: its own defaults, and each mode of its pool."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.processes import (
    ROOT,
    Process,
    bare_environment,
    free_port,
    postgres,
    service,
)

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer, which .ci/run installs, is missing"),
]

TRIP = {"name": "Ada", "car": "car-1", "hotel": "hotel-1", "flight": "flight-1"}

TRIPS = 50


@contextmanager
def pooled(**options: object) -> Iterator[str]:
    """Start PostgreSQL and PgBouncer before it, and return the URL of the pool."""
    with tempfile.TemporaryDirectory(prefix="trip-booking-pooler-") as name:
        folder = Path(name)
        server = postgres(folder)
        server.start()
        try:
            server.wait_for_output("ready to accept")
            pooler, port = pgbouncer(folder, server, options)
            pooler.start()
            pooler.wait_for_output("process up")
            try:
                yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
            finally:
                pooler.kill()
        finally:
            server.kill()


def pgbouncer(folder: Path, server: Process, options: dict[str, object]) -> tuple[Process, int]:
    """Return a pooler before the server, and its port."""
    port = free_port()
    settings = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", **options}
    home = folder / "pgbouncer"
    home.mkdir(mode=0o755)
    file = home / "pgbouncer.ini"
    file.write_text(
        f"[databases]\npostgres = host={server.log.parent} user=postgres\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    # PostgreSQL's folder is open to the user who runs it, and to no other.
    user = psutil.Process(server.pid).username()
    process = Process(
        "pgbouncer", [str(PGBOUNCER), str(file)], home / "log", bare_environment(), user=user
    )
    return process, port


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_startup_parameters": "options"},
        {"pool_mode": "transaction"},
        {"pool_mode": "transaction", "default_pool_size": 3, "server_lifetime": 1},
    ],
    ids=lambda options: re.sub(r"\W+", " ", str(options)).strip() or "its own defaults",
)
def test_every_trip_is_booked(options: dict[str, object]) -> None:
    with pooled(**options) as url, service(DATABASE_URL=url) as booking:
        booking.start()
        with ThreadPoolExecutor(TRIPS) as callers:
            answers = list(
                callers.map(lambda _: booking.request("POST", "/book", TRIP), range(TRIPS))
            )
        assert [(each.status, each.body["cancelled"]) for each in answers] == [(200, False)] * TRIPS


def test_a_database_is_migrated() -> None:
    with pooled(pool_mode="transaction") as url:
        migrated = subprocess.run(
            [sys.executable, "-m", "record"],
            cwd=ROOT,
            env=bare_environment() | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert migrated.returncode == 0, migrated.stderr
