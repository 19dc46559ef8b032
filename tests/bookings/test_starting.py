"""What a trip's workflow is started with for people to see: its summary in the Web UI."""

import pytest

from bookings.starting import summary_of

CODE = " " * 4


@pytest.mark.parametrize(
    ("items", "summary"),
    [
        (["John Doe", "valid-car-id"], f"{CODE}John Doe · valid-car-id"),
        (["# <b>x</b>\n\n[x](y)", " *x* "], f"{CODE}# <b>x</b> [x](y) · *x*"),
        (["\u202eabc", "car"], f"{CODE}\u2068\u202eabc\u2069 · car"),
        (["{runId}"], f"{CODE}\u2068{{\u2060runId}}\u2069"),
    ],
)
def test_items_are_one_indented_line_in_their_own_directions(
    items: list[str], summary: str
) -> None:
    assert summary_of(items) == summary
