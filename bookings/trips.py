"""A trip as the API tells of it, and how it ended."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from shared import KINDS, BookingResult, StepProgress, TripStatus

STATUS_OF_RESULT: dict[str, TripStatus] = {
    "success": "booked",
    "failure": "rolled_back",
    "cancelled": "cancelled",
}
OPEN: tuple[TripStatus, ...] = ("running", "needs_attention")
"""What the status of an open workflow may be; one that was stopped from outside needs attention,
too."""
STARTED_AT = "started_at"
"""Name in the memo of a cancellation of when its trip was started."""

STOPPED = "The workflow was stopped from outside; reservations may still be held"
CANCELLED = "Cancelled on request"


@dataclass(frozen=True)
class Outcome:
    """How a trip's workflow ended: with a `result`, or without one, for a `reason`."""

    result: BookingResult | None
    reason: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped from outside, with no chance to undo what was booked."""
        return self.reason == STOPPED


@dataclass(frozen=True)
class Trip:
    """A trip as it stands. `stale` says that no worker could be asked about its steps."""

    user_id: str
    workflow_id: str
    """The workflow that acts on the trip: its own, or its cancellation."""
    run_id: str
    owner: str
    status: TripStatus
    request: dict[str, str]
    started_at: dt.datetime
    closed_at: dt.datetime | None
    steps: list[StepProgress]
    reason: str | None = None
    stale: bool = False

    @property
    def may_hold_after_closing(self) -> bool:
        """Whether the trip's own workflow is over and has left reservations behind."""
        return self.closed_at is not None and self.status in ("booked", "needs_attention")

    def ended(self, result: BookingResult) -> "Trip":
        """Return the trip as its workflow's result tells of it."""
        status = STATUS_OF_RESULT[result["status"]]
        reason = str(result["message"]) if status == "rolled_back" else None
        return replace(self, status=status, reason=reason, steps=steps_of(result["steps"]))


def steps_of(steps: list[dict[str, Any]]) -> list[StepProgress]:
    """Return the steps that a result or a memo keeps as plain JSON objects.

    What an older workflow has not written is derived, what a newer one has added is passed over.
    """
    known = {field.name for field in fields(StepProgress)}
    return [
        StepProgress(
            **{"held": step["state"] == "booked"}
            | {name: value for name, value in step.items() if name in known}
        )
        for step in steps
    ]


def request_in(memo: Mapping[str, Any]) -> dict[str, str]:
    """Return the request that a trip's memo keeps: what the traveller asked for.

    Nothing is known of what was asked for a trip that the API has not started.
    """
    names = ("name", "attempts", *KINDS)
    if "name" not in memo:
        return dict.fromkeys(names, "")
    return {name: str(memo[name]) for name in names if name in memo}


def started_at(memo: Mapping[str, Any]) -> dt.datetime | None:
    """Return when the trip was started whose cancellation has this memo."""
    return dt.datetime.fromisoformat(memo[STARTED_AT]) if STARTED_AT in memo else None
