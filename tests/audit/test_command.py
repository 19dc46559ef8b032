"""`python -m audit`: what it writes and how it exits."""

from collections import Counter

import pytest
from temporalio.testing import WorkflowEnvironment

import audit.__main__ as command_itself
from audit import Tally
from bookings import TemporalUnavailable
from connection import temporal_config
from record import Record, RecordUnavailable
from settings import load_settings
from tests.audit.auditing import change_reservation
from tests.bookings.requests import leave, new_id, new_trip, planted


async def test_it_writes_what_it_finds(
    environment: WorkflowEnvironment,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = environment.client.service_client.config.target_host
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    user_id = await planted(record)
    await change_reservation(record, user_id, "hotel", state="cancelled")
    tally = await command_itself.audit(load_settings(), temporal_config(), everything=True)
    sentence = (
        f"Trip {user_id} is recorded as booked, but its hotel is cancelled by the record;"
        " it needs attention now."
    )
    assert sentence in capsys.readouterr().out.splitlines()
    assert tally.differences["not_held"] == 1


async def test_an_id_forges_no_line_of_what_it_writes(
    environment: WorkflowEnvironment,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = environment.client.service_client.config.target_host
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    user_id = f"{new_id()}\x1b[2J\nTrip x is fine.\r\u2028\u202e"
    await record.trips.accept(new_trip(user_id))
    await leave(record, user_id, "booked")
    await change_reservation(record, user_id, "hotel", state="cancelled")
    await command_itself.audit(load_settings(), temporal_config(), everything=True)
    [line] = [line for line in capsys.readouterr().out.split("\n") if "Trip x" in line]
    assert r"\x1b[2J\nTrip x is fine.\r\u2028\u202e is recorded as booked, but" in line
    assert line.isprintable()


class Exited(BaseException):
    """The command has ended with a code."""


OUTCOMES: dict[str, tuple[Tally | Exception, int, str]] = {
    "nothing differs": (Tally(trips=1), 0, "1 trip compared, 0 differences.\n"),
    "something differs": (
        Tally(trips=2, differences=Counter({"not_held": 1}), away={"hotel"}, not_compared=1),
        1,
        "Trips left to the next audit: 1. The suppliers of hotel could not be asked.\n",
    ),
    "a supplier is away": (Tally(away={"hotel"}), 2, "0 trips compared"),
    "a key is missing": (Tally(odd=1), 2, "of which nothing can be made, as logged above: 1.\n"),
    "a supplier is gone": (Tally(elsewhere=3), 0, "suppliers that are not set up: 3.\n"),
    "Temporal is away": (TemporalUnavailable("No\n\x1bT"), 2, "Cannot audit: No \\x1bT\n"),
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
    monkeypatch.setattr(command_itself, "stop_at_once_when_told", lambda: None)
    monkeypatch.setattr("sys.argv", ["audit"])
    with pytest.raises(Exited) as exited:
        command_itself.main()
    assert exited.value.args == (code,)
    written = capsys.readouterr()
    assert said in written.out + written.err
