"""`python -m audit`: what it writes and how it exits."""

import asyncio
import subprocess
import sys

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

import audit.__main__ as command_itself
from audit import Tally
from bookings import Bookings
from record import Record
from tests.audit.auditing import book, change_reservation, working
from tests.conftest import IMPATIENT
from tests.encrypting import setting, with_keys
from tests.processes import ROOT, bare_environment
from tests.simulator.simulated import Simulator

DEADLINE = 60.0


async def command(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command, and return what it has written and its exit code."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "audit", *options],
        cwd=ROOT,
        env=bare_environment() | settings,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def speaks_of_others(said: str) -> bool:
    """Tell whether a difference is said: other tests have left trips in this Temporal."""
    return any(line.startswith("Trip ") for line in said.splitlines())


@pytest.fixture
def where(environment: WorkflowEnvironment, own_database: str) -> dict[str, str]:
    address = environment.client.service_client.config.target_host
    return {"TEMPORAL_ADDRESS": address, "DATABASE_URL": own_database}


async def test_it_exits_with_1_if_anything_differs_and_says_it(
    asked: Bookings, worker: None, record: Record, where: dict[str, str]
) -> None:
    user_id = await book(asked)
    await change_reservation(record, user_id, "hotel", state="cancelled")
    found = await command(**where)
    sentence = (
        f"Trip {user_id} is recorded as booked, but its hotel is cancelled by the record;"
        " it needs attention now."
    )
    assert sentence in found.stdout.splitlines()
    assert (found.returncode, found.stderr) == (1, "")


@pytest.mark.slow
async def test_it_exits_with_0_if_nothing_differs(
    asked: Bookings, worker: None, where: dict[str, str]
) -> None:
    user_id = await book(asked)
    again = await command("--all", **where)
    assert user_id not in again.stdout
    assert again.returncode == (1 if speaks_of_others(again.stdout) else 0)
    assert " compared, " in again.stdout.splitlines()[-1]


@pytest.mark.slow
async def test_it_exits_with_2_if_temporal_or_the_record_cannot_be_asked(
    where: dict[str, str], unused_tcp_port: int
) -> None:
    nowhere = {"TEMPORAL_ADDRESS": f"127.0.0.1:{unused_tcp_port}"}
    no_folder = {"DATABASE_URL": "sqlite:////nowhere/at/all.db"}
    for changed in (nowhere, no_folder):
        failed = await command(**where | changed)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert failed.stderr.startswith("Cannot audit: ")
        assert len(failed.stderr.splitlines()) == 1


def test_it_exits_with_2_if_it_breaks_off(
    own_database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python's own code for it, 1, would say that there are differences."""

    async def broken(*_: object) -> Tally:
        raise RuntimeError("Nobody knew of this")

    class Exited(BaseException):
        pass

    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(command_itself, "audit", broken)
    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("sys.argv", ["audit"])
    monkeypatch.setattr("logging.shutdown", lambda: None)
    with pytest.raises(Exited) as exited:
        command_itself.main()
    assert exited.value.args == (2,)
    assert "Nobody knew of this" in caplog.text


@pytest.mark.slow
async def test_it_exits_with_2_if_a_supplier_cannot_be_asked(
    client: Client, record: Record, suppliers: Simulator, where: dict[str, str]
) -> None:
    url = str(suppliers.server.make_url("/hotels"))
    async with working(client, record):
        user_id = await book(Bookings(client, record, IMPATIENT))
    await suppliers.call("PUT", "/faults", {"share": 1, "ways": ["error before"]})
    left = await command(HOTEL_SUPPLIER_URL=url, **where)
    said = ". The suppliers of hotel could not be asked."
    assert said in left.stdout
    assert "Reservations at suppliers that are not set up: " in left.stdout
    assert user_id not in left.stdout
    assert left.returncode == (1 if speaks_of_others(left.stdout) else 2)


@pytest.mark.slow
async def test_it_exits_with_2_if_a_key_is_missing(
    client: Client, record: Record, where: dict[str, str]
) -> None:
    encrypted = with_keys(client, "new")
    async with working(encrypted, record):
        user_id = await book(Bookings(encrypted, record, IMPATIENT))
    blind = await command(**where)
    assert f"nothing can be made of trip {user_id}" in blind.stderr
    assert "'new', which PAYLOAD_KEYS has not" in blind.stderr
    assert blind.returncode == (1 if speaks_of_others(blind.stdout) else 2)
    seeing = await command(**where, PAYLOAD_KEYS=setting("old", "new"))
    assert "nothing can be made of" not in seeing.stderr
