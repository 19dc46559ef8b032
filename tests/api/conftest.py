"""The API over a stand-in for the bookings."""

import pytest

from tests.api.api_client import Api
from tests.api.stand_in import StandIn, over


@pytest.fixture(scope="session")
def as_it_comes() -> tuple[StandIn, Api]:
    """The API without settings, and what it asks. To make one takes longer than most tests."""
    bookings = StandIn()
    return bookings, over(bookings)


@pytest.fixture
def bookings(as_it_comes: tuple[StandIn, Api]) -> StandIn:
    """What the API asks: without trips at first."""
    as_it_comes[0].forget()
    return as_it_comes[0]


@pytest.fixture
def api(as_it_comes: tuple[StandIn, Api], bookings: StandIn) -> Api:
    return as_it_comes[1]
