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
from functools import cached_property
from typing import Any, Literal

import sqlalchemy as sa

from record.database import Database
from record.errors import ForeignTrip, HeldElsewhere, ReservationRefused
from record.tables import reservations, storable, trips
from record.trips import UNHELD, claim, execution_of
from shared import KINDS, BookVacationInput, Kind

ReservationState = Literal["asked", "pending", "reserved", "cancelling", "cancelled"]
"""The embedded suppliers' reservations are only `reserved` or `cancelled`; or `asked`, with no
`over_at`, once a try has failed."""

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
    failures: int = field(default=0, compare=False)
    undo_failures: int = field(default=0, compare=False)
    last_error: str | None = field(default=None, compare=False)
    note: str | None = field(default=None, compare=False)
    updated_at: dt.datetime | None = field(default=None, compare=False)


class Reservations:
    """Reserves, cancels, and counts failures. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, trip: BookVacationInput, kind: Kind, seconds: float = 0.0) -> None:
        """Hold the trip's item of `kind`, which took so many seconds. Again, it changes nothing.

        Raises `ReservationRefused` when the step was given up or cancelled or holds another item,
        when the trip is over, or when it belongs to another execution.
        """

        def reserve(sql: sa.Connection) -> None:
            claim_to_book(self._database, sql, trip)
            row = row_of(trip, kind, "reserved", trip.item(kind)) | {"booking_seconds": seconds}
            held = reservation(sql.execute(self._reserve_row, row).one())
            check_bookable(trip, kind, held)
            if held.supplier is not None:
                raise HeldElsewhere(kind)

        await self._database.write(reserve)

    async def cancel(self, trip: BookVacationInput, kind: Kind, seconds: float = 0.0) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone; cancelling for an execution
        that the trip does not belong to leaves the trip alone. Doing so again changes nothing.
        Raises `HeldElsewhere` when another supplier may hold it.
        """

        def cancel(sql: sa.Connection) -> None:
            if is_foreign(self._database, sql, trip):
                return
            tombstone = row_of(trip, kind, "cancelled", None) | {"undo_seconds": seconds}
            if sql.execute(self._cancel_row, tombstone).one().state != "cancelled":
                raise HeldElsewhere(kind)

        await self._database.write(cancel)

    async def count_failure(
        self, trip: BookVacationInput, kind: Kind, words: str, *, final: bool
    ) -> int:
        """Count a failure of the supplier to book the step; return how many there are.

        When it is `final`, or there are as many as the trip's `attempts`, nothing books the step
        any more. A failure changes nothing, and counts as 0, when the step is booked, undone or
        given up already, when the trip is not running, or when it belongs to another execution.
        """

        def count(sql: sa.Connection) -> int:
            try:
                if claim(self._database, sql, trip) != "running":
                    return 0
            except ForeignTrip:
                return 0
            row = row_of(trip, kind, "asked", trip.item(kind))
            counted = {"failures": 1, "last_error": words}
            failures = sql.execute(self._count_row, row | counted).scalar_one_or_none() or 0
            if failures and (final or failures >= trip.attempts):
                sql.execute(_change(trip, kind, verdict="failed"))
            return failures

        return await self._database.write(count)

    async def count_undo_failure(self, trip: BookVacationInput, kind: Kind, words: str) -> int:
        """Count a failure of the supplier to undo the step; return how many there are.

        One that comes when the step is undone, or for an execution that the trip does not belong
        to, changes nothing and counts as 0.
        """
        counted = (
            _change(trip, kind, undo_failures=reservations.c.undo_failures + 1, last_error=words)
            .where(reservations.c.state != "cancelled")
            .returning(reservations.c.undo_failures)
        )

        def count(sql: sa.Connection) -> int:
            if is_foreign(self._database, sql, trip):
                return 0
            return sql.execute(counted).scalar_one_or_none() or 0

        return await self._database.write(count)

    async def give_up_undo(self, trip: BookVacationInput, kind: Kind, words: str) -> None:
        """Write that the undo of a step is stuck, and that its trip needs attention.

        That changes nothing once the step is undone.
        """
        needs_attention = (
            sa.update(trips)
            .where(
                trips.c.trip_id == trip.book_user_id,
                trips.c.first_run_id == execution_of(trip).first_run_id,
                trips.c.closed_at.is_(None),
            )
            .values(status="needs_attention")
        )
        row = row_of(trip, kind, "cancelling", trip.item(kind))

        def give_up(sql: sa.Connection) -> None:
            if is_foreign(self._database, sql, trip):
                return
            stuck = sql.execute(self._stuck_row, row | {"verdict": "stuck", "last_error": words})
            if stuck.one_or_none() is not None:
                sql.execute(needs_attention)

        await self._database.write(give_up)

    async def resolve(self, trip: BookVacationInput, kind: Kind, note: str) -> None:
        """Take an operator's word that nothing is held of `kind`; refuse every later `reserve`.

        That changes nothing once the step is undone or resolved.
        """
        resolved = {"verdict": "resolved", "note": note}

        def resolve(sql: sa.Connection) -> None:
            if not is_foreign(self._database, sql, trip):
                sql.execute(self._resolve_row, row_of(trip, kind, "cancelled", None) | resolved)

        await self._database.write(resolve)

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

    @cached_property
    def _reserve_row(self) -> sa.Executable:
        # A conflicting row is "updated", to itself perhaps: only so does RETURNING show it.
        insert = self._database.insert_into(reservations)
        new, old = insert.excluded, reservations.c
        only_failed = (
            (old.state == "asked")
            & old.supplier.is_(None)
            & old.verdict.is_(None)
            & (old.item == new.item)
        )
        changed = {
            name: sa.case((only_failed, new[name]), else_=old[name])
            for name in ("state", "updated_at", "booking_seconds")
        }
        changing = insert.on_conflict_do_update(index_elements=["trip_id", "kind"], set_=changed)
        return changing.returning(*RESERVATION_COLUMNS)

    @cached_property
    def _count_row(self) -> sa.Executable:
        insert = self._database.insert_into(reservations)
        new, old = insert.excluded, reservations.c
        changing = insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_={"failures": old.failures + 1, "last_error": new.last_error},
            where=old.state.in_(["asked", "pending"]) & old.verdict.is_(None),
        )
        return changing.returning(old.failures)

    @cached_property
    def _cancel_row(self) -> sa.Executable:
        insert = self._database.insert_into(reservations)
        new, old = insert.excluded, reservations.c
        to_do = old.supplier.is_(None) & (old.state != new.state)
        changed = {
            name: sa.case((to_do, new[name]), else_=old[name])
            for name in ("state", "updated_at", "undo_seconds")
        }
        changing = insert.on_conflict_do_update(index_elements=["trip_id", "kind"], set_=changed)
        return changing.returning(old.state)

    @cached_property
    def _stuck_row(self) -> sa.Executable:
        insert = self._database.insert_into(reservations)
        new, old = insert.excluded, reservations.c
        changing = insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_={name: new[name] for name in ("verdict", "last_error", "updated_at")},
            where=old.state != "cancelled",
        )
        return changing.returning(old.kind)

    @cached_property
    def _resolve_row(self) -> sa.Executable:
        insert = self._database.insert_into(reservations)
        new, old = insert.excluded, reservations.c
        told = {name: new[name] for name in ("state", "updated_at", "verdict", "note")}
        return insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_=told | {"over_at": None},
            where=old.state != "cancelled",
        )

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        order = {kind: position for position, kind in enumerate(KINDS)}
        statement = (
            sa.select(*RESERVATION_COLUMNS)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(order, value=reservations.c.kind))
        )
        rows = await self._database.read(lambda sql: sql.execute(statement).all())
        return [reservation(row) for row in rows]


def claim_to_book(database: Database, sql: sa.Connection, trip: BookVacationInput) -> None:
    """Claim the trip as `claim` does. Raises `ReservationRefused` when it is over."""
    if claim(database, sql, trip) in UNHELD:
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


def was_undone(trip: BookVacationInput, kind: Kind) -> ReservationRefused:
    """Return what refuses to book a step that was undone."""
    return ReservationRefused(f"The {kind} of trip {trip.book_user_id} was undone already")


def is_foreign(database: Database, sql: sa.Connection, trip: BookVacationInput) -> bool:
    """Tell whether the trip is another execution's, whose reservations are not ours to change."""
    try:
        claim(database, sql, trip)
    except ForeignTrip:
        return True
    return False


def reservation(row: sa.Row[Any]) -> Reservation:
    """Return the reservation that a row of the table tells of."""
    return Reservation(**row._mapping)


def row_of(
    trip: BookVacationInput, kind: Kind, state: ReservationState, item: str | None
) -> dict[str, object]:
    """Return a new row for a step of the trip."""
    now = dt.datetime.now(dt.UTC)
    return {
        "trip_id": trip.book_user_id,
        "kind": kind,
        "item": item,
        "state": state,
        "first_run_id": execution_of(trip).first_run_id,
        "created_at": now,
        "updated_at": now,
    }


def _change(trip: BookVacationInput, kind: Kind, **values: Any) -> sa.Update:
    return sa.update(reservations).where(is_of(trip, kind)).values(values)


def is_of(trip: BookVacationInput, kind: Kind) -> sa.ColumnElement[bool]:
    """Return the condition for the row of a step."""
    return (reservations.c.trip_id == trip.book_user_id) & (reservations.c.kind == kind)


RESERVATION_COLUMNS = tuple(reservations.c[each.name] for each in fields(Reservation))
"""What a `Reservation` is made of."""
