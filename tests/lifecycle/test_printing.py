"""What `make run` prints of the processes that it has started."""

import datetime as dt
import io

import pytest
from honcho.printer import Message

from lifecycle.__main__ import Printer


@pytest.mark.parametrize("in_bytes", [True, False])
def test_a_line_of_a_process_is_one_line_and_controls_no_terminal(
    in_bytes: bool,
) -> None:
    output = io.StringIO()
    said = "Trip \x1b[2J\rwas\u2028worker | \x85forged\x0b \u202eü\r\n"
    data = said.encode() if in_bytes else said
    Printer(output, width=8).write(Message("line", data, dt.datetime(2026, 1, 2), "temporal", None))
    told = r"Trip \x1b[2J\rwas\u2028worker | \x85forged\x0b \u202eü"
    assert output.getvalue() == f"00:00:00 temporal | {told}\n"
