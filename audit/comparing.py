"""Compares what is known of one trip, and says what does not fit. It asks nobody.

A booked trip holds all that it wants; one that was rolled back or cancelled holds nothing. A step
that an operator has resolved is not compared.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from audit.asking import Said
from audit.differences import Difference, DifferenceKind, Remedy, in_words
from record import UNHELD, RecordedTrip, Reservation, StepProgress, storable
from shared import KINDS, Kind, TripStatus
from suppliers import AnotherItem, Confirmed, Held, Pending, Released

CLOSING = dt.timedelta(minutes=2)
"""A workflow may take so long to close after its ending is recorded: its worker may have died."""

IN_WORDS = {
    "asked": "asked for, with an unknown outcome",
    "pending": "undecided",
    "held": "held, and not confirmed",
    "quoted": "only quoted",
    "reserved": "held",
    "cancelling": "being cancelled",
    "cancelled": "cancelled",
}
"""What the states of a reservation mean to people."""


@dataclass(frozen=True)
class Look:
    """What a look at a trip has shown."""

    row: RecordedTrip
    standing: TripStatus | None
    """How it stands by its workflow; `None`: the workflow was stopped, or Temporal knows none."""
    reservations: Mapping[Kind, Reservation]
    held: Mapping[Kind, Said] = field(default_factory=dict)
    """What each supplier says, of those that were asked."""
    not_asked: frozenset[Kind] = frozenset()
    """The kinds whose suppliers could not be asked."""
    too_early: bool = False
    """Whether some supplier cannot know yet."""
    elsewhere: int = 0
    """Reservations at suppliers that are not set up any more."""
    differences: Sequence[Difference] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every supplier has answered that can know of the trip."""
        return not (self.not_asked or self.too_early)


def compared(look: Look, now: dt.datetime) -> list[Difference]:
    """Return what does not fit of a trip that has ended by the record."""
    row = look.row
    if row.closed_at is None or row.status not in ("booked", *UNHELD):
        return []
    if look.standing == "running":
        if now < row.closed_at + CLOSING:
            return []
        found = f"{_is(row)}, but its workflow is still running"
        return [Difference(row.trip_id, "still_running", found)]
    # A cancel that comes while a rollback is recorded makes the workflow end as cancelled; what was
    # told first stands.
    if look.standing in ("booked", *UNHELD) and "booked" in {row.status} ^ {look.standing}:
        found = f"{_is(row)}, but its workflow has ended as {in_words(look.standing)}"
        return [Difference(row.trip_id, "another_outcome", found, remedy="mark")]
    resolved = {step.kind for step in row.steps if step.state == "resolved"}
    if row.status == "booked":
        steps = [step for step in row.steps if step.kind not in resolved]
        return [each for step in steps for each in _not_held(look, step)]
    # Also of kinds that there are no more.
    kinds = [kind for kind in dict.fromkeys((*KINDS, *look.reservations)) if kind not in resolved]
    return [each for kind in kinds for each in _still_held(look, kind)]


def _not_held(look: Look, step: StepProgress) -> Iterator[Difference]:
    """Find what is missing for a step of a booked trip."""
    kind, row = step.kind, look.row

    def found(difference: DifferenceKind, what: str) -> Difference:
        words = f"{_is(row)}, but {what}"
        return Difference(row.trip_id, difference, words, step=kind, remedy="mark")

    own = look.reservations.get(kind)
    if own is None:
        yield found("not_held", f"the record has no reservation of its {kind}")
        return
    if own.state != "reserved":
        yield found("not_held", f"its {kind} is {IN_WORDS[own.state]} by the record")
        return
    if row.first_run_id and own.first_run_id not in (None, row.first_run_id):
        yield found("not_held", f"its {kind} was reserved by another workflow")
    if own.item != storable(row.request.get(kind, step.item)):
        yield found("another_item", f"the record holds another {kind} for it than it wants")
    if kind not in look.held:
        return
    match look.held[kind]:
        case AnotherItem():
            yield found("another_item", f"the {kind} supplier holds another {kind} for it")
        case Held() | Pending():
            yield found("not_held", f"the {kind} supplier has not confirmed its {kind}")
        case Released() | None:
            yield found("not_held", f"the {kind} supplier holds nothing for it")


def _still_held(look: Look, kind: Kind) -> Iterator[Difference]:
    """Find what is held for a trip that was rolled back or cancelled."""
    row, own = look.row, look.reservations.get(kind)

    def found(what: str, remedy: Remedy) -> Difference:
        words = f"{_is(row)}, but {what}"
        return Difference(row.trip_id, "held_after_end", words, step=kind, remedy=remedy)

    if own is not None and own.state != "cancelled":
        nobody_can = kind not in KINDS and own.supplier is not None
        what = f"its {kind} was still {IN_WORDS[own.state]} by the record"
        yield found(what, "mark" if nobody_can else "cancel")
        return
    match look.held.get(kind):
        case Confirmed() | Held() | Pending():
            # What nobody has claimed, nobody has booked: it cannot be proved to be the trip's own.
            remedy: Remedy = "mark" if row.first_run_id is None else "cancel late booking"
            yield found(f"the {kind} supplier held a {kind} for it", remedy)
        case AnotherItem():
            yield found(f"the {kind} supplier holds a {kind} for it that it never wanted", "mark")


def _is(row: RecordedTrip) -> str:
    return f"is recorded as {in_words(row.status)}"
