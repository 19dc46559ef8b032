"""Asks the suppliers what they hold: slowly, and not while they are away.

An audit is in no hurry, so it leaves most of a supplier's rate to the calls of the trips.
"""

import asyncio
import logging

from shared import BookVacationInput, Kind
from suppliers import AnotherItem, Confirmed, Held, OutsideDesk, Pending, Released, SupplierError

logger = logging.getLogger(__name__)

SHARE = 0.25
"""The share of a supplier's calls in a second that an audit asks with."""

AWAY_AFTER = 5
"""A supplier counts as away when it has not answered this number of questions in a row."""

AWAY_SECONDS = 60.0
"""Seconds for which a supplier that is away is asked nothing."""

Said = Confirmed | Held | Pending | Released | AnotherItem | None
"""What a supplier holds for a trip; `None`: it knows nothing of it."""


class NotAsked:
    """The supplier could not be asked, or has not answered."""


class Line:
    """The line to one supplier."""

    def __init__(self, desk: OutsideDesk, kind: Kind, rate: float | None) -> None:
        """`rate`: the calls that the supplier takes in a second; `None`: any number."""
        self._desk = desk
        self._kind = kind
        self._pause = 0.0 if rate is None else 1 / (rate * SHARE)
        self._next = 0.0
        self._failures = 0
        self._away_until = 0.0

    async def held(self, trip: BookVacationInput) -> Said | NotAsked:
        """Return what the supplier holds."""
        if self._is_away():
            return NotAsked()
        await self._turn()
        if self._is_away():  # Earlier questions have found it meanwhile.
            return NotAsked()
        try:
            async with asyncio.timeout(trip.policy.try_timeout):
                held: Said = await self._desk.find(trip)
        except AnotherItem as another:
            held = another
        except (SupplierError, TimeoutError) as error:
            return self._failed(error)
        except Exception as error:
            # A supplier's own class may raise anything; its text may hold an address.
            logger.exception(
                "The %s supplier failed", self._kind, extra={"trip_id": trip.book_user_id}
            )
            return self._failed(error)
        self._failures = 0
        return held

    def _is_away(self) -> bool:
        return asyncio.get_running_loop().time() < self._away_until

    def _failed(self, error: Exception) -> NotAsked:
        self._failures += 1
        if self._failures >= AWAY_AFTER:
            self._away_until = asyncio.get_running_loop().time() + AWAY_SECONDS
            logger.warning(
                "The %s supplier is away, and not asked for a while: %s", self._kind, error
            )
        return NotAsked()

    async def _turn(self) -> None:
        """Wait until the supplier may be asked again."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self._pause
        await asyncio.sleep(turn - now)
