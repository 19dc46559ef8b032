"""The record on two PostgreSQL servers: one is demoted and stays up, the other is promoted."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from record import Record, RecordUnavailable
from tests.processes import Process, bare_environment, postgres, wait_until
from tests.record.trips import trip

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Server:
    """One of the two."""

    process: Process
    folder: Path

    @property
    def conninfo(self) -> str:
        """How it is reached."""
        return f"user=postgres dbname=postgres host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process.start()
        self.process.wait_for_output("ready to accept")

    def execute(self, *statements: str) -> list[tuple[str]]:
        """Execute statements there, and return the rows of the last one."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall()

    def only_reads(self) -> None:
        """Have it refuse to write from now on."""
        told = "ALTER SYSTEM SET default_transaction_read_only = on"
        self.execute(told, "SELECT pg_reload_conf()")
        asked = psycopg.connect(self.conninfo, autocommit=True)
        with asked:
            shown = "SHOW default_transaction_read_only"
            wait_until(lambda: asked.execute(shown).fetchone() == ("on",), "it has read that")

    def promote(self) -> None:
        """Have a standby become a primary."""
        self.execute("SELECT pg_promote()")


@contextmanager
def two_servers() -> Iterator[tuple[Server, Server]]:
    """Start a primary and a standby of it."""
    with tempfile.TemporaryDirectory(prefix="trip-booking-pair-") as name:
        folder = Path(name)
        primary = Server(postgres(folder), folder / "postgres")
        try:
            primary.start()
            standby = standby_of(primary, folder)
            try:
                standby.start()
                yield primary, standby
            finally:
                standby.process.kill()
        finally:
            primary.process.kill()


def standby_of(primary: Server, folder: Path) -> Server:
    """Return a server that follows the primary."""
    running = psutil.Process(primary.process.pid)
    program, user = Path(running.exe()), running.username()
    home = folder / "standby"
    home.mkdir()
    shutil.chown(home, user)
    data = home / "postgres"
    copy = [str(program.with_name("pg_basebackup")), "-R", "-D", str(data), "-U", "postgres"]
    subprocess.run([*copy, "-h", str(primary.folder)], user=user, check=True, timeout=60)
    # The primary keeps its socket among its data.
    (data / ".s.PGSQL.5432.lock").unlink()
    command = [str(program), "-D", str(data), "-h", "", "-k", str(data)]
    log = data / "postgres.log"
    return Server(Process("standby", command, log, bare_environment(), user=user), data)


async def test_the_next_call_goes_to_the_new_primary() -> None:
    with two_servers() as (one, other):
        hosts = f"host={one.folder}&host={other.folder}"
        url = f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write"
        async with Record.open(url) as record:
            await record.reservations.reserve(trip("before"), "car")
            one.only_reads()
            other.promote()
            # A connection of this record has not noticed yet; a look-up there would be answered.
            with pytest.raises(RecordUnavailable):
                await record.database.check_writable()
            await record.reservations.reserve(trip("after"), "car")
            await record.database.check_writable()
        held = "SELECT trip_id FROM reservations ORDER BY created_at"
        assert one.execute(held) == [("before",)]
        assert other.execute(held) == [("before",), ("after",)]
