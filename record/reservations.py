"""The reservations: what is held for each step of a trip, and how often its supplier failed.

One row per (trip, kind). Each method is one transaction: idempotent, and safe against the others
from any number of processes. A cancelled row is a tombstone: it refuses every later `reserve`, so a
late try cannot book after its undo. Each begins with the trip's row: only the workflow execution
that the trip belongs to may change what it holds.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import sqlalchemy as sa

from record.database import Database, add_if_new, writes
from record.errors import ReservationRefused
from record.events import change_trip
from record.tables import reservations, storable, trips
from record.trips import UNHELD, claim, claim_own, claim_to_undo, execution_of
from shared import KINDS, BookVacationInput, Kind, Price, total_of

ReservationState = Literal[
    "asked", "pending", "held", "quoted", "reserved", "cancelling", "cancelled"
]
"""The embedded suppliers' reservations are only `held`, `reserved` or `cancelled`; or `asked`, with
no `over_at`, once a try has failed."""

UNBOOKED = ("asked", "pending", "held", "quoted")
"""It may become booked."""

Verdict = Literal["failed", "stuck", "resolved"]


@dataclass(frozen=True)
class Reservation:
    """What the record holds for one step of a trip; `record.tables` tells of each column."""

    trip_id: str
    kind: Kind
    item: str | None
    state: ReservationState
    first_run_id: str | None
    supplier: str | None = None
    """Where it is held; `None`: here, by the embedded supplier."""
    reference: str | None = None
    """The supplier's own name for it."""
    over_at: dt.datetime | None = None
    """When the last call to book it, whose outcome is unknown, is over at the latest."""
    verdict: Verdict | None = None
    price: Price | None = None
    failures: int = field(default=0, compare=False)
    undo_failures: int = field(default=0, compare=False)
    last_error: str | None = field(default=None, compare=False)
    note: str | None = field(default=None, compare=False)
    updated_at: dt.datetime | None = field(default=None, compare=False)


class Reservations:
    """Reserves, cancels, and counts failures. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def reserve(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, seconds: float = 0.0
    ) -> None:
        """Book the trip's item of `kind`, or hold it, which took `seconds`. Again changes nothing.

        It is held until the trip's workflow says what becomes of it. Raises `ReservationRefused`
        when the step was given up or cancelled or holds another item, when the trip is over, or
        when it belongs to another execution.
        """
        claim_to_book(sql, trip)
        check_price(sql, trip, kind, None, None)
        state: ReservationState = "held" if trip.hold_seconds else "reserved"
        # Mostly the step has no row yet. Then this is all there is to do.
        if add_if_new(sql, reservations, _row(trip, kind, state, booking_seconds=seconds)):
            return
        # Its trip is locked, so the row that is there stays.
        held = reservation(sql.execute(_ONE, {"trip_id": trip.book_user_id, "kind": kind}).one())
        check_bookable(trip, kind, held)
        _check_held_here(held)
        if held.state in ("asked", "held"):
            # The failures to hold are none of the confirm's.
            failures = 0 if state == "held" else held.failures
            told = {"booking_seconds": seconds, "failures": failures}
            sql.execute(change(trip, kind, state=state, **told))

    @writes
    def cancel(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, seconds: float = 0.0
    ) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone; cancelling for an execution
        that the trip does not belong to leaves the trip alone. Doing so again changes nothing.
        Raises `ReservationRefused` when another supplier may hold it.
        """
        if claim_to_undo(sql, trip) is None:
            return
        held = reservation_of(sql, trip, kind)
        if held is not None:
            if held.state == "cancelled":
                return
            _check_held_here(held)
        took = seconds if held is not None and held.state in ("held", "reserved") else None
        put(sql, trip, kind, held, "cancelled", undo_seconds=took)

    @writes
    def count_failure(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, words: str, *, final: bool
    ) -> int:
        """Count a failure of the supplier to book the step; return how many there are.

        When it is `final`, or there are as many as the trip's `attempts`, nothing books the step
        any more. A failure changes nothing, and counts as 0, when the step is booked, undone or
        given up already, when the trip is not running, or when it belongs to another execution.
        """
        if claim(sql, trip) != "running":
            return 0
        held = reservation_of(sql, trip, kind)
        # What is held already cannot fail to be held.
        may_fail = ("asked", "pending") if trip.hold_seconds else UNBOOKED
        if held and (held.state not in may_fail or held.verdict is not None):
            return 0
        failures = (held.failures if held else 0) + 1
        verdict = "failed" if final or failures >= trip.attempts else None
        counted = {"failures": failures, "last_error": words, "verdict": verdict}
        if held is None:
            put(sql, trip, kind, None, "asked", **counted)
        else:
            sql.execute(note(trip, kind, **counted))
        return failures

    @writes
    def note_words(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, words: str
    ) -> None:
        """Write why a try to book or undo the step has ended. It counts as no failure."""
        if claim(sql, trip) is None:
            return
        if reservation_of(sql, trip, kind) is None:
            put(sql, trip, kind, None, "asked", last_error=words)
        else:
            sql.execute(note(trip, kind, last_error=words))

    @writes
    def count_undo_failure(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, words: str
    ) -> int:
        """Count a failure of the supplier to undo the step; return how many there are.

        A failure changes nothing, and counts as 0, when the step is undone, or when the trip
        belongs to another execution.
        """
        if claim(sql, trip) is None:
            return 0
        held = reservation_of(sql, trip, kind)
        if held is None or held.state == "cancelled":
            return 0
        failures = held.undo_failures + 1
        sql.execute(note(trip, kind, undo_failures=failures, last_error=words))
        return failures

    @writes
    def give_up_undo(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, words: str
    ) -> None:
        """Write that the undo of a step is stuck, and that its trip needs attention.

        That changes nothing once the step is undone.
        """
        if claim(sql, trip) is None:
            return
        held = reservation_of(sql, trip, kind)
        state = "cancelling" if held is None else held.state
        if state == "cancelled":
            return
        put(sql, trip, kind, held, state, verdict="stuck", last_error=words)
        is_open = (trips.c.trip_id == trip.book_user_id) & trips.c.closed_at.is_(None)
        attention = sa.update(trips).where(is_open).values(status="needs_attention")
        change_trip(sql, attention, trip.book_user_id)

    @writes
    def resolve(self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, words: str) -> None:
        """Take an operator's words that nothing is held of `kind`; refuse every later `reserve`.

        That changes nothing once the step is undone or resolved.
        """
        if claim(sql, trip) is None:
            return
        held = reservation_of(sql, trip, kind)
        if held is None or held.state != "cancelled":
            put(sql, trip, kind, held, "cancelled", over_at=None, verdict="resolved", note=words)

    async def of(self, trip_id: str) -> list[Reservation]:
        """Return the rows of one trip, tombstones included, in the order of booking."""
        return await self._rows(reservations.c.trip_id == trip_id)

    async def of_all(self, trip_ids: Collection[str]) -> Mapping[str, list[Reservation]]:
        """Return the rows of some trips, tombstones included, by trip."""
        found: dict[str, list[Reservation]] = defaultdict(list)
        for row in await self._rows(reservations.c.trip_id.in_(trip_ids)):
            found[row.trip_id].append(row)
        return found

    async def everything(self) -> list[Reservation]:
        """Return every row; for audits and tests."""
        return await self._rows(sa.true())

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        order = {kind: position for position, kind in enumerate(KINDS)}
        statement = (
            sa.select(*RESERVATION_COLUMNS)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(order, value=reservations.c.kind))
        )
        rows = await self._database.read(lambda sql: sql.execute(statement).all())
        return [reservation(row) for row in rows]


def claim_to_book(sql: sa.Connection, trip: BookVacationInput) -> None:
    """Claim the trip as `claim_own` does. Raises `ReservationRefused` also when it is over."""
    if claim_own(sql, trip) in UNHELD:
        raise ReservationRefused(f"Trip {trip.book_user_id} is over")


def check_bookable(trip: BookVacationInput, kind: Kind, held: Reservation) -> None:
    """Raise `ReservationRefused` if what is there refuses to be booked."""
    item = trip.item(kind)
    if held.verdict == "failed" and held.last_error:
        raise ReservationRefused(held.last_error)
    if held.state in ("cancelling", "cancelled") or held.verdict is not None:
        raise was_undone(trip, kind)
    if held.item != storable(item):
        raise ReservationRefused(
            f"The {kind} of trip {trip.book_user_id} is {held.item}, not {item}"
        )


def check_price(
    sql: sa.Connection,
    trip: BookVacationInput,
    kind: Kind,
    price: Price | None,
    before: Price | None,
) -> None:
    """Raise `ReservationRefused` if a step is dearer than it was before, or than the trip may be.

    The trip was claimed in this transaction, so that no other step of it gets a price meanwhile.
    """
    if price and before and (price.number, price.currency) != (before.number, before.currency):
        raise ReservationRefused(f"The price of the {kind} has changed from {before} to {price}")
    most, price = trip.max_price, price or before
    if most is None:
        return
    others = sql.scalars(_PRICES, {"of_trip": trip.book_user_id, "kind": kind})
    total = total_of([price, *others])
    if total is None or total.currency != most.currency:
        told = f"costs {price}" if price else "has no price"
        raise ReservationRefused(f"The {kind} {told}, and the trip may cost {most} at the most")
    if total.number > most.number:
        raise ReservationRefused(f"The trip costs {total}, and may cost {most} at the most")


def _check_held_here(held: Reservation) -> None:
    """Raise `ReservationRefused` if a supplier outside was asked, for only that one can end it."""
    if held.supplier is not None:
        raise ReservationRefused(
            f"The {held.kind} was booked at a supplier that is not set up any more"
        )


def was_undone(trip: BookVacationInput, kind: Kind) -> ReservationRefused:
    """Return what refuses to book a step that was undone."""
    return ReservationRefused(f"The {kind} of trip {trip.book_user_id} was undone already")


def reservation_of(sql: sa.Connection, trip: BookVacationInput, kind: Kind) -> Reservation | None:
    """Return what the record holds for a step of a trip that was claimed in this transaction.

    No other transaction changes it, or adds it, until this one ends.
    """
    row = sql.execute(_ONE, {"trip_id": trip.book_user_id, "kind": kind}).one_or_none()
    return None if row is None else reservation(row)


def reservation(row: sa.Row[Any]) -> Reservation:
    """Return the reservation that a row of the table tells of."""
    return Reservation(**row._mapping)


def put(
    sql: sa.Connection,
    trip: BookVacationInput,
    kind: Kind,
    held: Reservation | None,
    state: ReservationState,
    **values: Any,
) -> None:
    """Write how a step stands from now on; `held` is its row, `None`: it has none yet."""
    if held is None:
        add_if_new(sql, reservations, _row(trip, kind, state, **values))
    else:
        sql.execute(change(trip, kind, state=state, **values))


def _row(
    trip: BookVacationInput, kind: Kind, state: ReservationState, **values: Any
) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    return {
        "trip_id": trip.book_user_id,
        "kind": kind,
        # A tombstone holds nothing.
        "item": None if state == "cancelled" else trip.item(kind),
        "state": state,
        "first_run_id": execution_of(trip).first_run_id,
        "created_at": now,
        "updated_at": now,
    } | values


def change(trip: BookVacationInput, kind: Kind, **values: Any) -> sa.Update:
    """Return a change of how a step stands, which it does from now on."""
    return note(trip, kind, updated_at=dt.datetime.now(dt.UTC), **values)


def note(trip: BookVacationInput, kind: Kind, **values: Any) -> sa.Update:
    """Return a change of a step's row that does not change since when the step stands so."""
    is_it = (reservations.c.trip_id == trip.book_user_id) & (reservations.c.kind == kind)
    return sa.update(reservations).where(is_it).values(values)


RESERVATION_COLUMNS = tuple(reservations.c[each.name] for each in fields(Reservation))
"""What a `Reservation` is made of."""

_PRICES = sa.select(reservations.c.price).where(
    reservations.c.trip_id == sa.bindparam("of_trip"),
    reservations.c.kind != sa.bindparam("kind"),
    reservations.c.state.in_(["held", "quoted", "reserved"]),
)
_ONE = (
    sa.select(*RESERVATION_COLUMNS)
    .where(reservations.c.trip_id == sa.bindparam("trip_id"))
    .where(reservations.c.kind == sa.bindparam("kind"))
    .with_for_update()
)
