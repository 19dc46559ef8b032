"""The service over PgBouncer, as Debian has it: its own defaults, and each mode of its pool."""

import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.beside.pooling import book_at_once, migrate, pooled, user_of
from tests.processes import Process, bare_environment, free_port

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer, which .ci/run installs, is missing"),
]

TRIPS = 50


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
    command = [str(PGBOUNCER), str(file)]
    user = user_of(server)
    return Process("pgbouncer", command, home / "log", bare_environment(), user=user), port


def bouncing(**options: object) -> AbstractContextManager[tuple[str, str]]:
    """Return PostgreSQL with a PgBouncer of these options before it."""
    return pooled(lambda folder, server: pgbouncer(folder, server, options), "process up")


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
    with bouncing(**options) as (url, _):
        book_at_once(url, TRIPS)


def test_a_database_is_migrated() -> None:
    with bouncing(pool_mode="transaction") as (url, _):
        migrate(url)
