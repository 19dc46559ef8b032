"""Listing trips, page by page, as the record has them."""

import base64
import datetime as dt
import json

from bookings.callers import Caller
from bookings.errors import UnknownCursor
from bookings.temporal import TripsInTemporal
from bookings.trips import Trip, may_be_id, shown
from record import Place
from shared import TripStatus


class Listing(TripsInTemporal):
    """Lists trips."""

    async def page(
        self, status: TripStatus | None, limit: int, cursor: str | None, caller: Caller
    ) -> tuple[list[Trip], str | None]:
        """Return a page of the caller's trips, the newest first, and the cursor of the next.

        Raises `UnknownCursor` and `RecordError`.
        """
        rows = await self._record.page(
            limit + 1,
            status=status,
            owner=None if caller.operator else caller.name,
            after=None if cursor is None else _place(cursor),
        )
        page = rows[:limit]
        more = len(rows) > limit
        return [shown(row) for row in page], _cursor(shown(page[-1])) if more else None


def _cursor(last: Trip) -> str:
    place = [last.started_at.isoformat(), last.user_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place(cursor: str) -> Place:
    try:
        match json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True)):
            case [str(time), str(trip_id)] if may_be_id(trip_id):
                return Place(dt.datetime.fromisoformat(time).astimezone(dt.UTC), trip_id)
    except (ValueError, RecursionError, OverflowError):
        pass
    raise UnknownCursor
