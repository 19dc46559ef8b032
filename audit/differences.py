"""What an audit can find. It says each difference in a sentence, with the trip's id."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from shared import Kind, TripStatus

logger = logging.getLogger(__name__)

DifferenceKind = Literal[
    "lost_ending",
    "never_started",
    "stopped",
    "not_recorded",
    "still_running",
    "another_outcome",
    "not_held",
    "another_item",
    "held_after_end",
    "undelivered",
    "held_too_long",
]
"""What each one means, and what to do about it, is in docs/operations.md."""

DIFFERENCES: tuple[DifferenceKind, ...] = get_args(DifferenceKind)

Remedy = Literal["cancel", "cancel late booking", "mark"]

ATTENTION = "it needs attention now"


@dataclass(frozen=True)
class Difference:
    """Something about a trip that is not as it must be."""

    trip_id: str
    kind: DifferenceKind
    found: str
    """What is wrong, after the trip's id."""
    done: str | None = None
    """What was done about it, if anything."""
    step: Kind | None = None
    remedy: Remedy | None = None
    """What may be done about it, and is not done yet."""

    def __str__(self) -> str:
        """Return the sentence."""
        done = "" if self.done is None else f"; {self.done}"
        return f"Trip {self.trip_id} {self.found}{done}."


def recorded_as(status: TripStatus) -> str:
    """Say what a trip is recorded as from now on."""
    return f"it is recorded as {in_words(status)} now"


def in_words(status: str) -> str:
    """Return a status of a trip as people write it."""
    return status.replace("_", " ")


def log(difference: Difference) -> None:
    """Log a difference."""
    logger.warning("Audit: %s", difference, extra={"trip_id": difference.trip_id})


@dataclass
class Tally:
    """What an audit has come to."""

    told: Callable[[Difference], object] = log
    """Is told each difference as it is found."""
    seen: Callable[[int], object] = lambda _: None
    """Is told how many trips were looked at since it was told last."""
    trips: int = 0
    """How many were compared, also of those that are still running."""
    not_compared: int = 0
    """How many were left to the next audit, because a supplier was away or cannot know yet."""
    elsewhere: int = 0
    """Reservations at suppliers that are not set up any more, so that nobody could be asked."""
    differences: Counter[str] = field(default_factory=Counter)
    """In how many trips each kind was found."""
    away: set[Kind] = field(default_factory=set)
    """The kinds whose suppliers could not be asked."""
    odd: int = 0
    """Trips of which nothing could be made: what Temporal has of them cannot be read, say."""

    def note(self, differences: Sequence[Difference]) -> None:
        """Tell the differences of one trip, and count each kind of them once."""
        for difference in differences:
            self.told(difference)
        self.differences.update({difference.kind for difference in differences})

    def __str__(self) -> str:
        """Return a line that sums it up."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.differences.items()))
        found = sum(self.differences.values())
        line = f"{_so_many(self.trips, 'trip')} compared, {_so_many(found, 'difference')}"
        return f"{line} ({kinds})" if kinds else line


def _so_many(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
