"""What the tests of the HTTP client share: a service, the supplier that it is, and the secrecy."""

import logging
from collections.abc import AsyncIterator

import pytest

from suppliers import HttpSupplier
from tests.suppliers.over_http.raw_service import TOKEN, RawService, hotels_at, raw_service


@pytest.fixture
async def service() -> AsyncIterator[RawService]:
    async with raw_service() as served:
        yield served


@pytest.fixture
async def hotels(
    service: RawService, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[HttpSupplier]:
    """The hotels' supplier, which is `service`; its token is in no log, whatever the test does."""
    caplog.set_level(logging.DEBUG)
    async with hotels_at(service.url, TOKEN, connections=1_000) as supplier:
        yield supplier
    for record in caplog.get_records("call"):
        line = logging.Formatter().format(record)
        assert TOKEN not in line
        assert record.name != "suppliers.over_http" or line.isprintable()
