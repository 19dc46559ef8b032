"""The SQLite files of `make run` are their owner's alone, whatever the umask."""

import os
import re
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from record import Record
from shared import keep_private
from tests.processes import bare_environment, procfile


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def open_to_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o644)


def private(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 0o600)


@pytest.mark.parametrize("url", ["sqlite:///{0}/a.db", "sqlite:///file:{0}/a.db?uri=true"])
async def test_the_files_of_the_record_are_their_owners(tmp_path: Path, url: str) -> None:
    async with Record.open(url.format(tmp_path)) as record:
        await record.database.check_writable()
        assert modes(tmp_path) == private("a.db", "a.db-wal", "a.db-shm")


async def test_files_of_an_earlier_version_become_their_owners(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with Record.open(url) as record:
        await record.database.check_writable()
        open_to_all(tmp_path)  # As a kill -9 leaves them.
        async with Record.open(url) as another:
            await another.database.check_writable()
            assert modes(tmp_path) == private("a.db", "a.db-wal", "a.db-shm")


def test_a_file_that_is_in_use_keeps_its_locks(tmp_path: Path) -> None:
    """To open and close it once more in the same process would drop them."""
    locks, file = Path("/proc/locks"), tmp_path / "a.db"
    if not locks.exists():
        pytest.skip("this system does not tell who has which lock")
    with closing(sqlite3.connect(file)) as sql:
        sql.execute("BEGIN EXCLUSIVE")
        held = re.compile(rf" {os.getpid()} \S+:{file.stat().st_ino} ")
        assert held.search(locks.read_text())
        keep_private(file)
        assert held.search(locks.read_text())


@pytest.mark.parametrize("before", [(), ("temporal.db", "temporal.db-wal", "temporal.db-shm")])
def test_temporals_files_under_make_run_are_their_owners(
    tmp_path: Path, before: tuple[str, ...]
) -> None:
    files, programs = tmp_path / "files", tmp_path / "programs"
    files.mkdir()
    programs.mkdir()
    for name in before:
        (files / name).touch()
    temporal = programs / "temporal"
    temporal.write_text("#!/bin/sh\ntouch temporal.db temporal.db-wal temporal.db-shm\n")
    temporal.chmod(0o755)
    command = re.search(r"^temporal: (.*)", procfile(), re.M)
    assert command
    done = subprocess.run(
        command[1],
        shell=True,
        cwd=files,
        env=bare_environment() | {"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert modes(files) == private("temporal.db", "temporal.db-wal", "temporal.db-shm")
