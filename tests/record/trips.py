"""Trips as the API accepts them, and as the activities of a workflow pass them on."""

import dataclasses
import datetime as dt
from typing import Any

from record import Record, RecordedTrip
from shared import KINDS, BookVacationInput, Execution, Kind, TripNews, TripStatus

NOON = dt.datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)

ITEMS: dict[str, Any] = {f"book_{kind}_id": f"a-{kind}" for kind in KINDS}


OF_THREE: dict[str, Any] = {
    "name": "Ada",
    "attempts": 3,
    **{kind: f"a-{kind}" for kind in KINDS[:3]},
}
"""What a trip asked for that is older than a fourth kind."""


def later(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


def trip(trip_id: str = "trip", run: str = "first-run", **changes: Any) -> BookVacationInput:
    """Return a trip as an activity of a workflow execution passes it to the record."""
    valid = BookVacationInput(
        attempts=3,
        book_user_id=trip_id,
        execution=Execution(trip_id, run),
        **ITEMS,
    )
    return dataclasses.replace(valid, **changes)


def with_item(kind: Kind, item: Any, trip_id: str = "trip") -> BookVacationInput:
    """Return a trip that wants that item."""
    return trip(trip_id, **{f"book_{kind}_id": item})


def accepted(trip_id: str = "trip", **changes: Any) -> RecordedTrip:
    """Return a trip as the API accepts it."""
    valid = RecordedTrip(
        trip_id=trip_id,
        owner="shop",
        request={"name": "Ada", "attempts": 3, **{kind: f"a-{kind}" for kind in KINDS}},
        status="running",
        workflow_id=trip_id,
        accepted_at=NOON,
        key_fingerprint=f"key-of-{trip_id}",
    )
    return dataclasses.replace(valid, **changes)


async def trip_in(record: Record, trip_id: str = "trip") -> RecordedTrip:
    """Return a trip that is in the record."""
    row = await record.trips.by_id(trip_id)
    assert row is not None
    return row


def news(
    status: TripStatus = "booked",
    after: float = 0.0,
    reason: str | None = None,
) -> TripNews:
    """Return what a workflow tells of its trip so many seconds after noon."""
    return TripNews(status, reason, later(after), NOON)
