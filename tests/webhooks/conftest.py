"""A receiver that takes everything, unless a test tells it otherwise."""

from collections.abc import AsyncIterator

import pytest

from record import Record
from tests.suppliers.over_http.raw_service import RawService, http, raw_service
from tests.webhooks.receiving import sender_to
from webhooks import Sender


@pytest.fixture
async def receiver() -> AsyncIterator[RawService]:
    async with raw_service() as service:
        service.says(http(204))
        yield service


@pytest.fixture
async def sender(receiver: RawService, record: Record) -> AsyncIterator[Sender]:
    async with sender_to(receiver.url, record) as made:
        yield made
