"""How often: a caller's new trips, wrong keys from an address, and lines of one kind in the log.

Each is counted by one process.
"""

import logging
import math
import time
from collections import Counter
from threading import Lock, Timer

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.problems import Problem

WRONG_KEYS = 10
"""How many wrong keys an address may send in any minute before it is told to wait."""

LINES = 20
"""How many lines of one kind are logged in a minute."""

MINUTE = 60.0
"""Seconds."""


class Rate:
    """Counts what is let in, for each name. A refusal has the words `refusal`."""

    def __init__(self, limit: RateLimitItem, refusal: str) -> None:
        self._limit = limit
        self._refusal = refusal
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def admit(self, name: str) -> None:
        """Count one. Raises `Problem`, 429, if it is one too many, and does not count it."""
        if self._limiter.hit(self._limit, name):
            return
        free_at, _ = self._limiter.get_window_stats(self._limit, name)
        after = max(1, math.ceil(free_at - time.time()))
        raise Problem(429, self._refusal, headers={"Retry-After": str(after)})


class BookingRate(Rate):
    """Counts the new trips of each caller, by name.

    `per_second` is a whole number, or less than 1: then it is one trip in so many whole seconds,
    rounded up, so that no more are let in than it says.
    """

    def __init__(self, per_second: float) -> None:
        # 1 / (1 / 49) is a little more than 49, which is no second more.
        seconds = max(1, math.ceil(round(1 / per_second, 6)))
        limit = RateLimitItemPerSecond(max(1, math.floor(per_second)), seconds)
        super().__init__(limit, "You book too often; try again.")


def wrong_key_rate() -> Rate:
    """Return what counts the wrong keys of each address."""
    words = "Too many wrong API keys came from your address; try again."
    return Rate(RateLimitItemPerMinute(WRONG_KEYS), words)


class SparingLog:
    """Logs what callers can cause as often as they like: so many lines of one kind in a minute.

    When the minute is over, one more line tells how many were left out.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: Counter[str] = Counter()
        self._changing = Lock()

    def log(self, level: int, kind: str, message: str, *args: object) -> None:
        """Log a line, unless there were enough of its `kind`, of which there are few."""
        with self._changing:
            self._seen[kind] += 1
            seen = self._seen[kind]
        if seen == 1:
            over = Timer(MINUTE, self._tell_left_out, [level, kind])
            over.daemon = True
            over.start()
        if seen <= LINES:
            self._logger.log(level, message, *args)

    def _tell_left_out(self, level: int, kind: str) -> None:
        with self._changing:
            left_out = self._seen.pop(kind) - LINES
        if left_out > 0:
            self._logger.log(level, "%d more lines were left out: %s", left_out, kind)
