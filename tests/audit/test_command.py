"""`python -m audit`: what it writes and how it exits."""

import asyncio
import subprocess
import sys
from collections import Counter

import pytest
from temporalio.testing import WorkflowEnvironment

import audit.__main__ as command_itself
from audit import Tally
from bookings import Bookings, TemporalUnavailable
from record import Record, RecordUnavailable
from tests.audit.auditing import book, change_reservation
from tests.processes import ROOT, bare_environment

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


class Exited(BaseException):
    """The command has ended with a code."""


OUTCOMES: dict[str, tuple[Tally | Exception, int, str]] = {
    "nothing differs": (Tally(trips=1), 0, "1 trip compared, 0 differences.\n"),
    "something differs": (
        Tally(trips=2, differences=Counter({"not_held": 1}), away=["hotel"], not_compared=1),
        1,
        "Trips left to the next audit: 1. The suppliers of hotel could not be asked.\n",
    ),
    "a supplier is away": (Tally(away=["hotel"]), 2, "0 trips compared"),
    "a key is missing": (Tally(odd=1), 2, "of which nothing can be made, as logged above: 1.\n"),
    "a supplier is gone": (Tally(elsewhere=3), 0, "suppliers that are not set up: 3.\n"),
    "Temporal is away": (TemporalUnavailable("No\nTemporal"), 2, "Cannot audit: No Temporal\n"),
    "the record is away": (RecordUnavailable("No record"), 2, "Cannot audit: No record\n"),
    # Python's own code for it, 1, would say that there are differences.
    "it breaks off": (RuntimeError("Nobody knew of this"), 2, ""),
}


@pytest.mark.parametrize(("outcome", "code", "said"), OUTCOMES.values(), ids=OUTCOMES)
def test_its_code_and_its_last_lines_say_how_it_went(
    own_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Tally | Exception,
    code: int,
    said: str,
) -> None:
    async def audit(*_: object) -> Tally:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(command_itself, "audit", audit)
    monkeypatch.setattr(command_itself, "leave", leave)
    monkeypatch.setattr("sys.argv", ["audit"])
    with pytest.raises(Exited) as exited:
        command_itself.main()
    assert exited.value.args == (code,)
    written = capsys.readouterr()
    assert said in written.out + written.err
