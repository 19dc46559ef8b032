"""Compares what is known of one trip, and says what does not fit. It asks nobody.

A booked trip holds all that it wants; one that was rolled back or cancelled holds nothing. A step
that an operator has resolved is not compared.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from audit.asking import Held
from audit.differences import DifferenceKind
from audit.standing import Standing
from record import UNHELD, RecordedTrip, Reservation, StepProgress, storable
from shared import KINDS, Kind, SagaPolicy
from suppliers import AnotherItem, Confirmed, Pending

CLOSING = dt.timedelta(minutes=2)
"""A workflow may take so long to close after its ending is recorded: its worker may have died."""

Remedy = Literal["cancel", "cancel late booking", "mark", "none"]

IN_WORDS = {
    "asked": "asked for, with an unknown outcome",
    "pending": "undecided",
    "reserved": "held",
    "cancelling": "being cancelled",
    "cancelled": "cancelled",
}
"""What the states of a reservation mean to people."""


@dataclass(frozen=True)
class Suspicion:
    """Something that does not fit, and what may be done about it."""

    kind: DifferenceKind
    found: str
    remedy: Remedy
    step: Kind | None = None


@dataclass(frozen=True)
class Known:
    """All that is known of a trip."""

    row: RecordedTrip
    standing: Standing
    reservations: Mapping[Kind, Reservation]
    held: Mapping[Kind, Held]
    """What each supplier says, of those that were asked."""


def compared(known: Known, now: dt.datetime) -> list[Suspicion]:
    """Return what does not fit of a trip that has ended by the record."""
    row = known.row
    if row.closed_at is None or row.status not in ("booked", *UNHELD):
        return []
    if known.standing == "running":
        if now < row.closed_at + CLOSING:
            return []
        found = f"{_is(row)}, but its workflow is still running"
        return [Suspicion("still_running", found, "none")]
    if known.standing in ("booked", *UNHELD) and _differs(row.status, known.standing):
        found = f"{_is(row)}, but its workflow has ended as {_words(known.standing)}"
        return [Suspicion("another_outcome", found, "mark")]
    steps = [step for step in row.steps if step.state != "resolved"]
    if row.status == "booked":
        return [each for step in steps for each in _not_held(known, step)]
    return [each for kind in _unresolved(row) for each in _still_held(known, kind)]


def _unresolved(row: RecordedTrip) -> list[Kind]:
    resolved = {step.kind for step in row.steps if step.state == "resolved"}
    return [kind for kind in KINDS if kind not in resolved]


def _differs(recorded: str, told: str) -> bool:
    """Tell whether a trip is booked by one of both only.

    A cancel that comes while a rollback is recorded makes the workflow end as cancelled; what was
    told first stands.
    """
    return (recorded == "booked") != (told == "booked")


def _not_held(known: Known, step: StepProgress) -> Iterator[Suspicion]:
    """Find what is missing for a step of a booked trip."""
    kind, row = step.kind, known.row
    own = known.reservations.get(kind)
    if own is None:
        found = f"{_is(row)}, but the record has no reservation of its {kind}"
        yield Suspicion("not_held", found, "mark", kind)
        return
    if own.state != "reserved":
        found = f"{_is(row)}, but its {kind} is {IN_WORDS[own.state]} by the record"
        yield Suspicion("not_held", found, "mark", kind)
        return
    if row.first_run_id and own.first_run_id not in (None, row.first_run_id):
        found = f"{_is(row)}, but its {kind} was reserved by another workflow"
        yield Suspicion("not_held", found, "mark", kind)
    if own.item != storable(row.request.get(kind, step.item)):
        found = f"{_is(row)}, but the record holds another {kind} for it than it wants"
        yield Suspicion("another_item", found, "mark", kind)
    if kind not in known.held:
        return
    match known.held[kind]:
        case Confirmed():
            return
        case AnotherItem():
            found = f"{_is(row)}, but the {kind} supplier holds another {kind} for it"
            yield Suspicion("another_item", found, "mark", kind)
        case Pending():
            found = f"{_is(row)}, but the {kind} supplier has not confirmed its {kind}"
            yield Suspicion("not_held", found, "mark", kind)
        case _:
            found = f"{_is(row)}, but the {kind} supplier holds nothing for it"
            yield Suspicion("not_held", found, "mark", kind)


def _still_held(known: Known, kind: Kind) -> Iterator[Suspicion]:
    """Find what is held for a trip that was rolled back or cancelled."""
    row, own = known.row, known.reservations.get(kind)
    if own is not None and own.state != "cancelled":
        found = f"{_is(row)}, but its {kind} was still {IN_WORDS[own.state]} by the record"
        yield Suspicion("held_after_end", found, "cancel", kind)
        return
    match known.held.get(kind):
        case Confirmed() | Pending():
            found = f"{_is(row)}, but the {kind} supplier held a {kind} for it"
            # What nobody has claimed, nobody has booked: it cannot be proved to be the trip's own.
            remedy: Remedy = "mark" if row.first_run_id is None else "cancel late booking"
            yield Suspicion("held_after_end", found, remedy, kind)
        case AnotherItem():
            found = (
                f"{_is(row)}, but the {kind} supplier holds a {kind} for it that it never wanted"
            )
            yield Suspicion("held_after_end", found, "mark", kind)


def delayed(
    row: RecordedTrip,
    reservations: Mapping[Kind, Reservation],
    policy: SagaPolicy,
    late: float,
    now: dt.datetime,
) -> list[Suspicion]:
    """Return what takes too long of a trip that is running. `late` is that of the latest supplier.

    The trip's deadline is that of its booking; after it, or after its cancellation was asked for,
    it may be undone as patiently as its policy says.
    """
    suspicions = []
    undoing = len(KINDS) * policy.undo_attempts * (policy.try_timeout + policy.retry_interval_cap)
    begun = row.cancelled_at or row.accepted_at + dt.timedelta(seconds=policy.trip_deadline)
    if now > begun + dt.timedelta(seconds=undoing + late):
        asked_for = "its cancellation" if row.cancelled_at else "it"
        since = _age(now - (row.cancelled_at or row.accepted_at))
        found = f"is still running {since} after {asked_for} was asked for, past its deadline"
        suspicions.append(Suspicion("overdue", found, "none"))
    settled = dt.timedelta(seconds=policy.step_deadline + policy.try_timeout + late)
    for own in reservations.values():
        unknown = own.state == "pending" or (own.state == "asked" and own.over_at is not None)
        if unknown and own.updated_at is not None and now > own.updated_at + settled:
            age = _age(now - own.updated_at)
            found = f"has had its {own.kind} {IN_WORDS[own.state]} for {age}"
            suspicions.append(Suspicion("outcome_unknown", found, "none", own.kind))
    return suspicions


def _is(row: RecordedTrip) -> str:
    return f"is recorded as {_words(row.status)}"


def _words(status: str) -> str:
    return status.replace("_", " ")


def _age(age: dt.timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
