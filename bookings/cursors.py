"""The cursor of a list: the place after the last trip of a page."""

import base64
import datetime as dt
import json

from bookings.errors import UnknownCursor
from bookings.trips import may_be_id
from record import PlaceInList, RecordedTrip


def cursor_after(last: RecordedTrip) -> str:
    """Return the cursor that goes on after a trip."""
    place = [last.accepted_at.isoformat(), last.trip_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(cursor: str) -> PlaceInList:
    """Return the place that a cursor stands for. Raises `UnknownCursor`."""
    try:
        match json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True)):
            case [str(time), str(trip_id)] if may_be_id(trip_id):
                return PlaceInList(dt.datetime.fromisoformat(time).astimezone(dt.UTC), trip_id)
    except (ValueError, RecursionError, OverflowError):
        pass
    raise UnknownCursor
