"""What the row of a trip tells besides its columns, and who may see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from record import OPEN, RecordedTrip, storable
from shared import Price, cancellation_id

STOPPED = "The workflow was stopped from outside; reservations may still be held"
NEVER_STARTED = "The booking was accepted, but could not be started"


OPTIONS = ("hold_seconds", "max_price")
"""Fields of a request that most have not."""


@dataclass(frozen=True)
class Caller:
    """The caller of a request. An operator sees every trip; others see their own."""

    name: str
    operator: bool
    metrics_only: bool = False
    """Whether it may read the metrics and nothing else: it has no trips."""


def has_outcome(trip: RecordedTrip) -> bool:
    """Tell whether it is known how the booking went. That stays, whatever is done to it later."""
    return trip.booked_at is not None or trip.status not in OPEN


def was_cancelled_later(trip: RecordedTrip) -> bool:
    """Tell whether the cancellation of a booked trip was accepted, or has come to its end."""
    asked = trip.cancelled_at or trip.cancel_asked_at
    return trip.booked_at is not None and (asked is not None or trip.status == "cancelled")


def may_be_id(text: str) -> bool:
    """Tell whether a text may be a trip's id: one that every database can be asked for."""
    return storable(text) == text


def acting_workflow(row: RecordedTrip) -> str:
    """Return the id of the workflow that acts on the trip: its own, or its cancellation."""
    return cancellation_id(row.trip_id) if row.cancelled_at else row.workflow_id


def price_in(request: Mapping[str, Any]) -> Price | None:
    """Return what a trip may cost at the most, as its request says."""
    told = request.get("max_price")
    return told and Price(**told)


def is_same(request: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Tell whether the request is the recorded one.

    A field that only one of them knows tells nothing: it came to the API, or went, in between. Only
    an option may be left out.
    """
    known = [name for name in request if name in recorded]
    return all(str(request.get(name)) == str(recorded.get(name)) for name in [*known, *OPTIONS])
