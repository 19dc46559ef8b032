"""The service over Pgpool-II, as Debian has it, with its own defaults."""

import shutil
from pathlib import Path

import pytest

from tests.beside.pooling import book_at_once, migrate, pooled, user_of
from tests.processes import Process, bare_environment, free_port
from tests.record.databases import head, revision_of
from tests.record.test_earlier_versions import SHAPES_OF_2_0_0, write

PGPOOL = shutil.which("pgpool", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGPOOL is None, reason="pgpool2, which .ci/run installs, is missing"),
]

TRIPS = 25

READY = "successfully started"


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
    command = [str(PGPOOL), "-n", "-f", str(file)]
    user = user_of(server)
    return Process("pgpool", command, home / "log", bare_environment(), user=user), port


@pytest.mark.parametrize("written", [False, True], ids=["brand-new", "of version 2.0.0"])
def test_a_database_is_migrated(written: bool) -> None:
    with pooled(pgpool, READY) as (url, server):
        if written:
            write(server, SHAPES_OF_2_0_0)
        migrate(url)
        assert revision_of(server) == head()


def test_the_first_start_makes_the_schema_and_every_trip_is_booked() -> None:
    with pooled(pgpool, READY) as (url, _):
        book_at_once(url, TRIPS)
