"""How often a caller may book: so many new trips in any second, of one process."""

import math
import time

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.problems import Problem


class BookingRate:
    """Counts the new trips of each caller, by name.

    `per_second` is a whole number, or less than 1: then it is one trip in so many whole seconds,
    rounded up, so that no more are let in than it says.
    """

    def __init__(self, per_second: float) -> None:
        # 1 / (1 / 49) is a little more than 49, which is no second more.
        seconds = max(1, math.ceil(round(1 / per_second, 6)))
        self._limit = RateLimitItemPerSecond(max(1, math.floor(per_second)), seconds)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def admit(self, caller: str) -> None:
        """Count a trip. Raises `Problem`, 429, if it is one too many, and does not count it."""
        if self._limiter.hit(self._limit, caller):
            return
        free_at, _ = self._limiter.get_window_stats(self._limit, caller)
        after = max(1, math.ceil(free_at - time.time()))
        headers = {"Retry-After": str(after)}
        raise Problem(429, "You book too often; try again.", headers=headers)
