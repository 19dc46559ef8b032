"""The stand-in for the bookings takes what the bookings take."""

import inspect

import pytest

from bookings import Bookings
from tests.api.stand_in import StandIn

METHODS = [name for name, _ in inspect.getmembers(Bookings, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_the_signature_of_the_bookings(name: str) -> None:
    signatures = [inspect.signature(getattr(each, name)) for each in (StandIn, Bookings)]
    assert signatures[0] == signatures[1]
