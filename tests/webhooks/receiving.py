"""The receiver of a webhook, which says what a test tells it to, and what it was sent."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from standardwebhooks import Webhook
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from record import Record
from tests.suppliers.over_http.raw_service import Request
from webhooks import Sender

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_KEY = "whsec_" + "A" * 43 + "="


@asynccontextmanager
async def sender_to(
    url: str, record: Record, *keys: str, proxy: str | None = None
) -> AsyncIterator[Sender]:
    sender = Sender(record.events, url, keys or [KEY], proxy)
    try:
        yield sender
    finally:
        await sender.close()


async def tried(sender: Sender, event_id: str) -> ApplicationError | None:
    """Run the activity once; return how it failed."""
    try:
        await ActivityEnvironment().run(sender.deliver_event, event_id)
    except ApplicationError as error:
        return error
    return None


def verified(request: Request, key: str = KEY) -> dict[str, Any]:
    """Return what a request says, if it is signed with the key. Raises what the library raises."""
    read: dict[str, Any] = Webhook(key).verify(request.body, dict(request.headers))
    assert read == json.loads(request.body)
    return read
