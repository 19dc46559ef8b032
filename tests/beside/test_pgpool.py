"""The service over Pgpool-II, as Debian has it, with its own defaults."""

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
    DEADLINE,
    ROOT,
    Process,
    bare_environment,
    free_port,
    postgres,
    service,
)
from tests.record.databases import head, revision_of
from tests.record.test_earlier_versions import SHAPES_OF_2_0_0, write

PGPOOL = shutil.which("pgpool", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGPOOL is None, reason="pgpool2, which .ci/run installs, is missing"),
]

TRIP = {"name": "Ada", "car": "car-1", "hotel": "hotel-1", "flight": "flight-1"}

TRIPS = 25


@contextmanager
def pooled() -> Iterator[tuple[str, str]]:
    """Start PostgreSQL and Pgpool-II before it; yield the URLs of the pool and of the server."""
    with tempfile.TemporaryDirectory(prefix="trip-booking-pgpool-") as name:
        folder = Path(name)
        server = postgres(folder)
        server.start()
        try:
            server.wait_for_output("ready to accept")
            pooler, port = pgpool(folder, server)
            pooler.start()
            try:
                pooler.wait_for_output("successfully started")
                yield (
                    f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
                    f"postgresql+psycopg://postgres@/postgres?host={server.log.parent}",
                )
            finally:
                pooler.kill()
        finally:
            server.kill()


def pgpool(folder: Path, server: Process) -> tuple[Process, int]:
    """Return a pooler before the server, and its port."""
    port = free_port()
    home = folder / "pgpool"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "socket_dir": home,
        "pcp_port": free_port(),
        "pcp_socket_dir": home,
        "wd_ipc_socket_dir": home,
        "pid_file_name": home / "pid",
        "logdir": home,
        "backend_hostname0": server.log.parent,
        "backend_port0": 5432,
        # With this role it asks which server is the primary one.
        "sr_check_user": "postgres",
    }
    file = home / "pgpool.conf"
    file.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
    # PostgreSQL's folder is open to the user who runs it, and to no other.
    user = psutil.Process(server.pid).username()
    command = [str(PGPOOL), "-n", "-f", str(file)]
    return Process("pgpool", command, home / "log", bare_environment(), user=user), port


@pytest.mark.parametrize("written", [False, True], ids=["brand-new", "of version 2.0.0"])
def test_a_database_is_migrated(written: bool) -> None:
    with pooled() as (url, server):
        if written:
            write(server, SHAPES_OF_2_0_0)
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
        assert revision_of(server) == head()


def test_the_first_start_makes_the_schema_and_every_trip_is_booked() -> None:
    with pooled() as (url, _), service(DATABASE_URL=url) as booking:
        booking.start()
        with ThreadPoolExecutor(TRIPS) as callers:
            answers = list(
                callers.map(lambda _: booking.request("POST", "/book", TRIP), range(TRIPS))
            )
        assert [(each.status, each.body["cancelled"]) for each in answers] == [(200, False)] * TRIPS
