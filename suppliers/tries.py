"""Tries of activities: their heartbeats, and the count of their suppliers' failures.

The record counts each failure of a supplier where it happens. Temporal repeats the activity until
it succeeds, gives up or is out of time. So some tries cost nothing: those that are lost with their
worker, that find the record away, or whose supplier has not decided yet.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from temporalio import activity
from temporalio.exceptions import ApplicationError

from shared import UNDECIDED, BookVacationInput, Kind, cut
from suppliers.composition import composed
from suppliers.desk import RecordAway, Try, Undecided, in_record
from suppliers.port import OutcomeUnknown, Refused, TryAgain

MAX_HEARTBEAT_INTERVAL = 5.0

PAUSED = "An operator paused this step"

LAST_TRY = 10.0
"""A step is tried once more so many seconds before its deadline, even if its supplier wants to wait
longer."""


class _InWords(ApplicationError):
    """An error whose text is the supplier's words alone, and not its type's name too."""

    def __str__(self) -> str:
        return self.message


class SupplierRefused(_InWords, ValueError):
    """The supplier's final word, or its last failure: the activity gives up."""

    def __init__(self, words: str) -> None:
        super().__init__(words, type="SupplierRefused", non_retryable=True)


class SupplierFailed(_InWords, RuntimeError):
    """A failure of the supplier: Temporal tries again after `wait`."""

    def __init__(self, words: str, wait: dt.timedelta) -> None:
        super().__init__(words, type="SupplierFailed", next_retry_delay=wait)


async def ask_supplier(
    kind: Kind,
    trip: BookVacationInput,
    tried: Try,
    asking: Awaitable[object],
    count: Callable[[str, bool], Awaitable[int]],
    most: int,
) -> None:
    """Ask a supplier and count its failures; give up at `most` of them.

    Any other failure costs nothing: Temporal tries again until the step's deadline. Only a
    supplier's own words reach travellers. The text of any other exception may have an address or a
    credential in it, and goes to the logs.
    """
    async with _heartbeats():
        try:
            await asking
        except Undecided as undecided:
            delay = _within_deadline(undecided.wait, tried)
            raise ApplicationError(str(undecided), type=UNDECIDED, next_retry_delay=delay) from None
        except RecordAway:
            raise
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            if details and details.paused:
                await in_record(composed().record.reservations.note_words(trip, kind, PAUSED))
            raise
        except (Refused, TryAgain) as told:
            failure: Refused | TryAgain = told
        except Exception:
            about = {"trip_id": trip.book_user_id}
            activity.logger.exception("The %s supplier failed", kind, extra=about)
            failure = OutcomeUnknown(f"The {kind} supplier failed")
        else:
            return
        words = cut(str(failure))
        failures = await in_record(count(words, isinstance(failure, Refused)))
    if isinstance(failure, Refused) or failures >= most:
        raise SupplierRefused(words)
    # The tutorial's hotel heartbeats before it fails, too.
    activity.heartbeat()
    policy = trip.policy
    backoff = policy.retry_interval * 2 ** min(max(failures - 1, 0), 30)
    wait = max(min(backoff, policy.retry_interval_cap), failure.wait or 0.0)
    raise SupplierFailed(words, _within_deadline(wait, tried))


def _within_deadline(wait: float, tried: Try) -> dt.timedelta:
    """Return how long to wait for a supplier that asks for `wait` seconds."""
    limit = activity.info().schedule_to_close_timeout
    latest = limit.total_seconds() - tried.seconds - LAST_TRY if limit else 0.0
    return dt.timedelta(seconds=min(wait, latest) if latest > 0 else wait)


def this_try() -> Try:
    """Return the try that the current activity is."""
    info = activity.info()
    # Both are times of Temporal's clock.
    return Try(info.attempt, (info.started_time - info.scheduled_time).total_seconds())


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Heartbeat from now on, so that only a dead, cut off or frozen worker misses a deadline.

    Most calls take less than the interval and cost no heartbeat.
    """
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        yield
        return
    heart = asyncio.create_task(_beat(min(timeout.total_seconds() / 3, MAX_HEARTBEAT_INTERVAL)))
    try:
        yield
    finally:
        heart.cancel()


async def _beat(interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        activity.heartbeat()
