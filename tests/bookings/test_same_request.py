"""What is the same request, and what of a trip an earlier or a later version has recorded."""

from typing import Any

import pytest

from bookings import BookingDiffers, Bookings
from bookings.trips import is_same
from record import Record
from shared import KINDS
from tests.bookings.requests import JOHN, SHOP, new_id, stub
from tests.conftest import IMPATIENT

REQUEST = {"name": "Jo", "attempts": 5, "car": "c", "hotel": "h", "flight": "f"}


def test_a_field_that_only_one_of_them_knows_makes_no_difference() -> None:
    assert is_same(REQUEST, {name: str(value) for name, value in reversed(REQUEST.items())})
    assert is_same(REQUEST | {"boat": "b"}, REQUEST)
    assert is_same(REQUEST, REQUEST | {"boat": "b"})


@pytest.mark.parametrize(
    "changes",
    [
        *({"name": "JO"}, {"attempts": 4}, {"car": "c "}, {"hotel": None}, {"flight": "h"}),
        *({"hold_seconds": 900}, {"max_price": {"amount": "1.00", "currency": "EUR"}}),
    ],
    ids=str,
)
def test_any_other_difference_does(changes: dict[str, Any]) -> None:
    assert not is_same(REQUEST | changes, REQUEST)
    assert not is_same(REQUEST, REQUEST | changes | {"boat": "b"})


@pytest.mark.parametrize(
    "recorded",
    [
        pytest.param(JOHN | {"boat": "a-boat", "insurance": {"level": 3}}, id="newer"),
        pytest.param({name: JOHN[name] for name in JOHN if name != "attempts"}, id="older"),
    ],
)
async def test_what_another_version_has_recorded_is_understood(
    record: Record, recorded: dict[str, Any]
) -> None:
    asked = Bookings(stub(), record, IMPATIENT)
    user_id = (await asked.book(new_id(), recorded, SHOP.name, 0, key="k")).trip_id
    again = await asked.book(new_id(), JOHN, SHOP.name, 0, key="k")
    assert (again.trip_id, [step.kind for step in again.steps]) == (user_id, list(KINDS))
    assert (await asked.page(None, 10, None, SHOP))[0] == [await asked.look_up(user_id, SHOP)]
    with pytest.raises(BookingDiffers):
        await asked.book(new_id(), JOHN | {"car": "other"}, SHOP.name, 0, key="k")
