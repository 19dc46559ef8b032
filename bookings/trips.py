"""A trip as the API tells of it, and the callers to whom it does."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from record import OPEN, RecordedTrip, StepProgress, storable
from shared import TripStatus, cancellation_id

STOPPED = "The workflow was stopped from outside; reservations may still be held"
NEVER_STARTED = "The booking was accepted, but could not be started"


@dataclass(frozen=True)
class Caller:
    """The caller of a request. An operator sees every trip; others see their own."""

    name: str
    operator: bool

    def may_see(self, owner: str) -> bool:
        """Tell whether this caller may see the trips of `owner`."""
        return self.operator or owner == self.name


@dataclass(frozen=True)
class Trip:
    """A trip as it stands."""

    user_id: str
    workflow_id: str
    """The workflow that acts on the trip: its own, or its cancellation."""
    run_id: str
    owner: str
    status: TripStatus
    request: Mapping[str, Any]
    started_at: dt.datetime
    closed_at: dt.datetime | None
    steps: list[StepProgress]
    was_booked: bool = False
    """Whether it was booked, also if it was cancelled later."""
    reason: str | None = None

    @property
    def has_outcome(self) -> bool:
        """Whether it is known how the booking went. That stays, whatever is done to it later."""
        return self.was_booked or self.status not in OPEN


def may_be_id(text: str) -> bool:
    """Tell whether a text may be a trip's id: one that every database can be asked for."""
    return storable(text) == text


def shown(row: RecordedTrip) -> Trip:
    """Return a trip as the record tells of it."""
    return Trip(
        user_id=row.trip_id,
        workflow_id=acting_workflow(row),
        run_id="" if row.cancelled_at else row.first_run_id or "",
        owner=row.owner,
        status=row.status,
        request=row.request,
        started_at=row.accepted_at,
        closed_at=row.closed_at,
        steps=row.steps,
        was_booked=row.booked_at is not None,
        reason=row.reason,
    )


def acting_workflow(row: RecordedTrip) -> str:
    """Return the id of the workflow that acts on the trip: its own, or its cancellation."""
    return cancellation_id(row.trip_id) if row.cancelled_at else row.workflow_id


def is_same(request: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Tell whether the request is the recorded one.

    A field that only one of them knows tells nothing: it came to the API, or went, in between.
    """
    return all(
        str(value) == str(recorded[name]) for name, value in request.items() if name in recorded
    )
