"""The reservations of the embedded suppliers: what is held for each trip.

One row per (trip, kind). `reserve` and `cancel` are one transaction each: idempotent, and safe
against each other from any number of processes. A cancelled row is a tombstone: it refuses every
later `reserve`, so a late try cannot book after its undo. Each begins with the trip's row: only the
workflow execution that the trip belongs to may change what it holds.
"""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import sqlalchemy as sa

from record.errors import ForeignTrip, ReservationRefused
from record.tables import reservations, storable
from record.trips import UNHELD, Trips
from shared import KINDS, BookVacationInput, Kind


@dataclass(frozen=True)
class Reservation:
    """What the record holds for one step of a trip."""

    trip_id: str
    kind: Kind
    item: str | None
    state: Literal["reserved", "cancelled"]
    first_run_id: str | None
    """The first run of the workflow that made it; `None`: it is older than such notes."""


class Reservations(Trips):
    """Reserves and cancels."""

    async def reserve(self, trip: BookVacationInput, kind: Kind) -> None:
        """Hold the trip's item of `kind`. Doing so again changes nothing.

        Raises `ReservationRefused` when the step was cancelled or holds another item, when the
        trip is over, or when it belongs to another execution; and `RecordUnavailable`.
        """
        await self._write(lambda sql: self._reserve(sql, trip, kind))

    def _reserve(self, sql: sa.Connection, trip: BookVacationInput, kind: Kind) -> None:
        trip_id, item = trip.book_user_id, trip.item(kind)
        if self._claim(sql, trip) in UNHELD:
            raise ReservationRefused(f"Trip {trip_id} is over")
        held = sql.execute(self._reserve_row, _row(trip, kind, "reserved", item)).one()
        if held.state == "cancelled":
            raise ReservationRefused(f"The {kind} of trip {trip_id} was undone already")
        if held.item != storable(item):
            raise ReservationRefused(f"The {kind} of trip {trip_id} is {held.item}, not {item}")

    async def cancel(self, trip: BookVacationInput, kind: Kind) -> None:
        """Release what the trip holds of `kind`, and refuse every later `reserve` of it.

        Cancelling what was never reserved leaves the tombstone alone; cancelling for an execution
        that the trip does not belong to leaves the trip alone. Doing so again changes nothing.
        Raises `RecordUnavailable`.
        """
        await self._bury(trip, kind)

    async def settle(self, trip: BookVacationInput, kind: Kind) -> None:
        """Take it that the trip holds nothing of `kind` any more, and refuse every later `reserve`.

        Raises as `cancel` does.
        """
        await self._bury(trip, kind)

    async def reservations_of(self, trip_id: str) -> list[Reservation]:
        """Return the rows of one trip, tombstones included, in the order of booking."""
        return await self._rows(reservations.c.trip_id == trip_id)

    async def all_reservations(self) -> list[Reservation]:
        """Return every row; for audits and tests."""
        return await self._rows(sa.true())

    async def _bury(self, trip: BookVacationInput, kind: Kind) -> None:
        def bury(sql: sa.Connection) -> None:
            try:
                self._claim(sql, trip)
            except ForeignTrip:
                return  # It has made no reservation, and what another one made is not its to undo.
            sql.execute(self._bury_row, _row(trip, kind, "cancelled", None))

        await self._write(bury)

    @cached_property
    def _reserve_row(self) -> sa.Executable:
        # A conflicting row is "updated" to itself: only so does RETURNING show it.
        unchanged = self._insert_into(reservations).on_conflict_do_update(
            index_elements=["trip_id", "kind"], set_={"updated_at": reservations.c.updated_at}
        )
        return unchanged.returning(reservations.c.item, reservations.c.state)

    @cached_property
    def _bury_row(self) -> sa.Executable:
        insert = self._insert_into(reservations)
        new = insert.excluded
        return insert.on_conflict_do_update(
            index_elements=["trip_id", "kind"],
            set_={"state": new.state, "updated_at": new.updated_at},
            where=reservations.c.state != new.state,
        )

    async def _rows(self, condition: sa.ColumnElement[bool]) -> list[Reservation]:
        columns = [
            reservations.c[name] for name in ("trip_id", "kind", "item", "state", "first_run_id")
        ]
        order = {kind: position for position, kind in enumerate(KINDS)}
        statement = (
            sa.select(*columns)
            .where(condition)
            .order_by(reservations.c.trip_id, sa.case(order, value=reservations.c.kind))
        )
        rows = await self._read(lambda sql: sql.execute(statement).all())
        return [Reservation(*row) for row in rows]


def _row(trip: BookVacationInput, kind: Kind, state: str, item: str | None) -> dict[str, object]:
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
