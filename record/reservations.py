"""The reservations of the embedded suppliers: what is held for each trip.

One row per (trip, kind). `reserve` and `cancel` are one transaction each: idempotent, and safe
against each other from any number of processes. A cancelled row is a tombstone: it refuses every
later `reserve`, so a late try cannot book after its undo. Each begins with the trip's row: only the
workflow execution that the trip belongs to may change what it holds.
"""

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import sqlalchemy as sa

from record.errors import ForeignTrip, HeldElsewhere, ReservationRefused
from record.tables import reservations, storable
from record.trips import UNHELD, Trips
from shared import KINDS, BookVacationInput, Kind

ReservationState = Literal["asked", "pending", "reserved", "cancelling", "cancelled"]
"""The embedded suppliers' reservations are only `reserved` or `cancelled`."""


@dataclass(frozen=True)
class Reservation:
    """What the record holds for one step of a trip."""

    trip_id: str
    kind: Kind
    item: str | None
    state: ReservationState
    first_run_id: str | None
    """The first run of the workflow that made it; `None`: it is older than such notes."""
    supplier: str | None = None
    """Where it is held; `None`: here, by the embedded supplier."""
    reference: str | None = None
    """The supplier's own name for it."""
    over_at: dt.datetime | None = None
    """When the last call to book it, whose outcome is unknown, is over at the latest."""
    since: dt.datetime | None = field(default=None, compare=False)
    """When it came to be so."""


class Reservations(Trips):
    """Reserves and cancels."""

    async def reserve(self, trip: BookVacationInput, kind: Kind) -> None:
        """Hold the trip's item of `kind`. Doing so again changes nothing.

        Raises `ReservationRefused` when the step was cancelled or holds another item, when the
        trip is over, or when it belongs to another execution; and `RecordUnavailable`.
        """
        await self._write(lambda sql: self._reserve(sql, trip, kind))

    def _reserve(self, sql: sa.Connection, trip: BookVacationInput, kind: Kind) -> None:
        self._claim_to_book(sql, trip)
        row = row_of(trip, kind, "reserved", trip.item(kind))
        held = reservation(sql.execute(self._reserve_row, row).one())
        self._check_bookable(trip, kind, held)
        if held.supplier is not None:
            raise HeldElsewhere(kind)

    def _claim_to_book(self, sql: sa.Connection, trip: BookVacationInput) -> None:
        if self._claim(sql, trip) in UNHELD:
            raise ReservationRefused(f"Trip {trip.book_user_id} is over")

    def _check_bookable(self, trip: BookVacationInput, kind: Kind, held: Reservation) -> None:
        """Raise `ReservationRefused` if what is there refuses to be booked."""
        item = trip.item(kind)
        if held.state in ("cancelling", "cancelled"):
            raise self._was_undone(trip, kind)
        if held.item != storable(item):
            raise ReservationRefused(
                f"The {kind} of trip {trip.book_user_id} is {held.item}, not {item}"
            )

    def _was_undone(self, trip: BookVacationInput, kind: Kind) -> ReservationRefused:
        return ReservationRefused(f"The {kind} of trip {trip.book_user_id} was undone already")

    async def cancel(self, trip: BookVacationInput, kind: Kind) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone; cancelling for an execution
        that the trip does not belong to leaves the trip alone. Doing so again changes nothing.
        Raises `HeldElsewhere` when another supplier may hold it, and `RecordUnavailable`.
        """

        def cancel(sql: sa.Connection) -> None:
            if self._is_foreign(sql, trip):
                return
            row = sql.execute(self._cancel_row, row_of(trip, kind, "cancelled", None)).one()
            if row.state != "cancelled":
                raise HeldElsewhere(kind)

        await self._write(cancel)

    async def settle(self, trip: BookVacationInput, kind: Kind) -> None:
        """Take it that the trip holds nothing of `kind` any more, and refuse every later `reserve`.

        Raises `RecordUnavailable`.
        """

        def settle(sql: sa.Connection) -> None:
            if not self._is_foreign(sql, trip):
                sql.execute(self._settle_row, row_of(trip, kind, "cancelled", None))

        await self._write(settle)

    async def reservations_of(self, trip_id: str) -> list[Reservation]:
        """Return the rows of one trip, tombstones included, in the order of booking."""
        return await self._rows(reservations.c.trip_id == trip_id)

    async def all_reservations(self) -> list[Reservation]:
        """Return every row; for audits and tests."""
        return await self._rows(sa.true())

    def _is_foreign(self, sql: sa.Connection, trip: BookVacationInput) -> bool:
        """Tell whether the trip is another execution's, whose reservations are not ours to undo."""
        try:
            self._claim(sql, trip)
        except ForeignTrip:
            return True
        return False

    @cached_property
    def _reserve_row(self) -> sa.Executable:
        # A conflicting row is "updated" to itself: only so does RETURNING show it.
        unchanged = self._insert_into(reservations).on_conflict_do_update(
            index_elements=["trip_id", "kind"], set_={"updated_at": reservations.c.updated_at}
        )
        return unchanged.returning(*_COLUMNS)

    @cached_property
    def _cancel_row(self) -> sa.Executable:
        insert = self._insert_into(reservations)
        new, old = insert.excluded, reservations.c
        to_do = old.supplier.is_(None) & (old.state != new.state)
        changed = {
            name: sa.case((to_do, new[name]), else_=old[name]) for name in ("state", "updated_at")
        }
        changing = insert.on_conflict_do_update(index_elements=["trip_id", "kind"], set_=changed)
        return changing.returning(old.state)

    @cached_property
    def _settle_row(self) -> sa.Executable:
        insert = self._insert_into(reservations)
        new = insert.excluded
        return insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_={"state": new.state, "updated_at": new.updated_at, "over_at": None},
            where=reservations.c.state != new.state,
        )

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        order = {kind: position for position, kind in enumerate(KINDS)}
        statement = (
            sa.select(*_COLUMNS)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(order, value=reservations.c.kind))
        )
        rows = await self._read(lambda sql: sql.execute(statement).all())
        return [reservation(row) for row in rows]


def reservation(row: sa.Row[Any]) -> Reservation:
    """Return the reservation that a row of the table tells of."""
    return Reservation(
        row.trip_id,
        row.kind,
        row.item,
        row.state,
        row.first_run_id,
        row.supplier,
        row.reference,
        row.over_at,
        row.updated_at,
    )


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
        "first_run_id": trip.execution and trip.execution.first_run_id,
        "created_at": now,
        "updated_at": now,
    }


_COLUMNS = tuple(reservations.c)
