"""The API over a stand-in for the bookings."""

import pytest

from tests.api.api_client import Api
from tests.api.stand_in import StandIn, over


@pytest.fixture
def bookings() -> StandIn:
    """What the API asks: without trips at first."""
    return StandIn()


@pytest.fixture
def api(bookings: StandIn) -> Api:
    return over(bookings)
