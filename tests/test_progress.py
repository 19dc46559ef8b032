"""Long commands show how far they are in a terminal, and tell nothing of it in a pipe."""

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from record import Record
from tests.bookings.requests import planted
from tests.processes import DEADLINE, ROOT, bare_environment
from tests.record.test_earlier_versions import SHAPES_OF_2_0_0, write

OF_MAKE = [sys.executable, "-m", "honcho", "run", sys.executable, "-m"]
"""How make runs the commands."""


def said(command: list[str], settings: Mapping[str, str], *, terminal: bool) -> str:
    """Run a command to its end and return all that it writes, to a terminal or a pipe."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(ours, (24, 80))
    with os.fdopen(ours, "rb", buffering=0) as reader:
        process = subprocess.Popen(
            [*OF_MAKE, *command],
            cwd=ROOT,
            env=bare_environment() | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # So Linux tells that the terminal is closed.
            while some := reader.read(65_536):
                written += some
        assert process.wait(DEADLINE) == 0, written
    return written.decode()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_migration(tmp_path: Path, terminal: bool) -> None:
    url = f"sqlite:///{tmp_path}/reservations.db"
    write(url, SHAPES_OF_2_0_0)
    told = said(["record"], {"DATABASE_URL": url}, terminal=terminal)
    assert "The record's schema is up to date" in told
    count = len(SHAPES_OF_2_0_0)
    assert ("Steps moved: 100%" in told and f" {count}/{count} " in told) == terminal
    # Of a database that is up to date, and of a brand-new one, there is nothing to show.
    for other in (url, f"sqlite:///{tmp_path}/fresh.db"):
        told = said(["record"], {"DATABASE_URL": other}, terminal=terminal)
        assert "Steps moved" not in told


@pytest.mark.parametrize("terminal", [True, False])
def test_a_hand_over(tmp_path: Path, terminal: bool) -> None:
    url = f"sqlite:///{tmp_path}/reservations.db"

    async def plant() -> None:
        async with Record.open(url) as record:
            await planted(record)

    asyncio.run(plant())
    command = ["record", "hand-over", "--from=shop", "--to=store"]
    told = said(command, {"DATABASE_URL": url}, terminal=terminal)
    done = "Trips of 'shop' that were handed over to 'store': 1"
    assert "Handed over: 1 trips" in told if terminal else told == f"{done}\n"
