"""The receiver of a webhook, which says what a test tells it to, and what it was sent."""

import json
from typing import Any

from standardwebhooks import Webhook
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from record import Record
from tests.suppliers.over_http.raw_service import RawService, Request
from webhooks import Sender

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_KEY = "whsec_" + "A" * 43 + "="


def sender_to(receiver: RawService, record: Record, *keys: str) -> Sender:
    return Sender(record.events, receiver.url, keys or [KEY])


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
