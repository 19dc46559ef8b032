"""What a trip's workflow is started with besides its input: its summary, and its owner's share."""

import pytest
from temporalio.common import Priority

from bookings import Bookings
from bookings.temporal import fair_share_of, summary_of
from record import Record
from tests.bookings.requests import JOHN, SHOP, planted, stub
from tests.conftest import IMPATIENT

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


@pytest.mark.parametrize(
    ("owner", "key"),
    [("shop", "shop"), ("", None), ("ä" * 40, "ä" * 32), ("xä" * 40, "xä" * 21 + "x")],
)
def test_an_owners_share_has_a_key_that_temporal_takes(owner: str, key: str | None) -> None:
    assert fair_share_of(owner).fairness_key == key


async def test_a_trip_and_its_cancellation_have_their_owners_share(record: Record) -> None:
    client = stub()
    asked = Bookings(client, record, IMPATIENT)
    await asked.book("begun", JOHN, SHOP.name, 0)
    await asked.cancel(await planted(record), SHOP, 0)
    shares = [call.kwargs["priority"] for call in client.start_workflow.await_args_list]
    assert shares == [Priority(fairness_key=SHOP.name)] * 2
