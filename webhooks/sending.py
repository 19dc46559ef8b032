"""Sends an event to the receiver, and writes in the record what came of it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import datetime as dt
import json
import logging
import random
import time
from collections.abc import Sequence

import aiohttp
from standardwebhooks import Webhook
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from record import Event, Events, RecordError
from shared import VERSION, retry_after

ANSWER_LIMIT = 15.0
"""Seconds within which the receiver has to answer."""

WAITS = (5.0, 60.0, 600.0, 3_600.0)
"""Seconds before the next try, by the number of failures; the last of them from then on."""

NOTE_PAUSES = (0.5, 2.0, 5.0, None)
"""Seconds between the tries to note a delivery. Without its note an event is sent again."""

FORWARD_PAUSE = 60.0
"""Seconds for which a worker does not bring deliveries forward once more."""

logger = logging.getLogger(__name__)


class Sender:
    """Sends events to `url`, signed with each of the secrets; if there is a proxy, through it."""

    def __init__(
        self, events: Events, url: str, secrets: Sequence[str], proxy: str | None = None
    ) -> None:
        self._events, self._url, self._proxy = events, url, proxy
        self._signers = [Webhook(secret) for secret in secrets]
        self._session: aiohttp.ClientSession | None = None
        self._forward_at = 0.0

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    @activity.defn
    async def deliver_event(self, event_id: str) -> None:
        """Try once to deliver an event. It may run twice, at the same time or late.

        Raises `ApplicationError` if it is to be tried again, and `RecordError`.
        """
        found = await self._events.to_deliver(event_id)
        if found is None:
            return
        event, now = found
        status, words, wait = await self._send(event, now)
        if 200 <= status < 300:
            await self._note_delivered(event)
            return
        failures = await self._events.note_failure(event_id, words, wait, gone=status == 410)
        about = {"trip_id": event.trip_id}
        if failures is None:
            logger.warning("Event %s is not sent any more: %s", event_id, words, extra=about)
            return
        usual = WAITS[min(failures, len(WAITS)) - 1]
        wait = max(usual * random.uniform(0.8, 1.2), wait)  # noqa: S311 - nothing secret
        logger.warning("Event %s waits %.0f s: %s", event_id, wait, words, extra=about)
        raise ApplicationError(
            words,
            type="NotDelivered",
            next_retry_delay=dt.timedelta(seconds=wait),
            category=ApplicationErrorCategory.BENIGN,  # It is logged above.
        )

    async def _send(self, event: Event, now: dt.datetime) -> tuple[int, str, float]:
        """Send an event; return the answer's status, 0 without one, in words, and what it asks for.

        That is a number of seconds for which the receiver does not want to be asked.
        """
        body = json.dumps(event.told())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"trip-booking/{VERSION}",
            "webhook-id": event.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                each.sign(event.event_id, now, body) for each in self._signers
            ),
        }
        try:
            async with (
                asyncio.timeout(ANSWER_LIMIT),
                self._opened().post(
                    self._url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
                ) as answer,
            ):
                asked = retry_after(answer.headers.get("Retry-After")) or 0.0
                return answer.status, f"It answered {answer.status}", asked
        except TimeoutError:
            return 0, f"No answer within {ANSWER_LIMIT:g} s", 0.0
        except Exception as error:  # It is a failed try, whatever it is. Its text has the address.
            return 0, f"No answer: {type(error.__cause__ or error).__name__}", 0.0

    def _opened(self) -> aiohttp.ClientSession:
        """Return what looks the receiver up once for all deliveries, in a thread that others need.

        It keeps no connection, as the other end may have closed it.
        """
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    async def _note_delivered(self, event: Event) -> None:
        """Note it, and have tried at once what has failed before: the receiver is back."""
        for pause in NOTE_PAUSES:
            try:
                await self._events.note_delivered(event.event_id)
                break
            except RecordError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        if event.failures and time.monotonic() >= self._forward_at:
            self._forward_at = time.monotonic() + FORWARD_PAUSE
            while await self._events.bring_forward():
                pass
