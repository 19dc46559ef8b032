"""What was asked of suppliers that are somebody else's services, and what they said.

The truth of what is held is theirs; the record keeps what we know of it, in the same rows as the
embedded reservations; `record.tables` tells what each state means.
"""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from record.database import Database
from record.errors import ReservationRefused
from record.reservations import (
    RESERVATION_COLUMNS,
    Reservation,
    check_bookable,
    claim_to_book,
    is_foreign,
    is_of,
    reservation,
    row_of,
    was_undone,
)
from record.tables import reservations
from record.trips import UNHELD, claim
from shared import BookVacationInput, Kind


class OutsideReservations:
    """Takes note of tries and of their outcomes. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_try(
        self,
        trip: BookVacationInput,
        kind: Kind,
        supplier: str,
        over_at: dt.datetime,
        instead_of: Reservation | None = None,
    ) -> Reservation | None:
        """Take note of a try to book that is about to be sent, and is over at `over_at`.

        Returns what an earlier try has left; then nothing is noted. `None`: it may be sent. With
        `instead_of` the caller names the earlier try that it has looked for. Raises as `reserve`
        does.
        """

        def begin(sql: sa.Connection) -> Reservation | None:
            claim_to_book(self._database, sql, trip)
            held = _row(sql, trip, kind)
            if held is None:
                asked = row_of(trip, kind, "asked", trip.item(kind))
                values = asked | {"supplier": supplier, "over_at": over_at}
                sql.execute(sa.insert(reservations).values(values))
                return None
            check_bookable(trip, kind, held)
            changed_nothing = held.state == "asked" and held.over_at is None
            if changed_nothing or held == instead_of:
                sql.execute(_change(trip, kind, "asked", over_at=over_at, supplier=supplier))
                return None
            return held

        return await self._database.write(begin)

    async def end_try(
        self,
        trip: BookVacationInput,
        kind: Kind,
        over_at: dt.datetime,
        ended: dt.datetime | None,
    ) -> None:
        """Take note that the try which was to be over at `over_at` has ended before.

        `ended` is `None` when it has changed nothing. The step may be about to be undone.
        """
        note = (
            sa.update(reservations)
            .where(is_of(trip, kind), reservations.c.over_at == over_at)
            .values(over_at=ended)
        )
        await self._database.write(lambda sql: sql.execute(note))

    async def note_pending(self, trip: BookVacationInput, kind: Kind) -> None:
        """Take note that the supplier has the try and has not decided yet."""
        note = _change(trip, kind, "pending").where(reservations.c.state == "asked")
        await self._database.write(lambda sql: sql.execute(note))

    async def confirm(
        self,
        trip: BookVacationInput,
        kind: Kind,
        reference: str | None,
        over_at: dt.datetime | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Take note that the supplier holds the item, which took so many seconds.

        `over_at` is when it said so, if it is one that may not show it for a while. Raises
        `ReservationRefused` when the step was undone meanwhile, and `RecordUnavailable`.
        """
        values = {"reference": reference, "over_at": over_at}
        took = sa.func.coalesce(reservations.c.booking_seconds, seconds)
        confirm = _change(trip, kind, "reserved", **values, booking_seconds=took).where(
            reservations.c.state.in_(["asked", "pending", "reserved"])
        )

        def write(sql: sa.Connection) -> None:
            if sql.execute(confirm).rowcount == 0:
                raise was_undone(trip, kind)

        await self._database.write(write)

    async def begin_cancel(self, trip: BookVacationInput, kind: Kind) -> Reservation | None:
        """Refuse every later try, and return what may be held, for it to be cancelled.

        `None`: the supplier holds nothing of this trip's own. Raises `RecordUnavailable`.
        """

        def begin(sql: sa.Connection) -> Reservation | None:
            if is_foreign(self._database, sql, trip):
                return None
            held = _row(sql, trip, kind)
            if held is None:
                tombstone = row_of(trip, kind, "cancelled", None)
                sql.execute(sa.insert(reservations).values(tombstone))
                return None
            if held.state == "cancelled":
                return None
            # A stuck undo is tried again.
            sql.execute(_tried_again(trip, kind))
            if held.state == "cancelling":
                return held
            was_sent = held.supplier and (held.state != "asked" or held.over_at is not None)
            sql.execute(_change(trip, kind, "cancelling" if was_sent else "cancelled"))
            return held if was_sent else None

        return await self._database.write(begin)

    async def begin_late_cancel(self, trip: BookVacationInput, kind: Kind, supplier: str) -> None:
        """Take note that a supplier holds something for a trip that is over, and holds nothing.

        So `begin_cancel` returns it again. Raises `ReservationRefused` when the trip is another
        execution's, or may hold something, and `RecordUnavailable`.
        """
        values = {"supplier": supplier, "item": trip.item(kind), "over_at": None}
        reopen = _change(trip, kind, "cancelling", **values).where(
            reservations.c.state == "cancelled"
        )

        def begin(sql: sa.Connection) -> None:
            if claim(self._database, sql, trip) not in UNHELD:
                raise ReservationRefused(f"Trip {trip.book_user_id} is not over")
            if _row(sql, trip, kind) is None:
                new = row_of(trip, kind, "cancelling", None) | values
                sql.execute(sa.insert(reservations).values(new))
            else:
                sql.execute(reopen)

        await self._database.write(begin)

    async def released(self, trip: BookVacationInput, kind: Kind, seconds: float = 0.0) -> None:
        """Take note that the supplier holds nothing any more, which took so many seconds."""
        note = _change(trip, kind, "cancelled", over_at=None, undo_seconds=seconds).where(
            reservations.c.state == "cancelling"
        )
        await self._database.write(lambda sql: sql.execute(note))


def _row(sql: sa.Connection, trip: BookVacationInput, kind: Kind) -> Reservation | None:
    """Return the row of a step. The trip's row is locked, and so is this one, in effect."""
    row = sql.execute(_ONE, {"trip_id": trip.book_user_id, "kind": kind}).one_or_none()
    return None if row is None else reservation(row)


def _tried_again(trip: BookVacationInput, kind: Kind) -> sa.Update:
    stuck = is_of(trip, kind) & (reservations.c.verdict == "stuck")
    return sa.update(reservations).where(stuck).values(verdict=None)


def _change(trip: BookVacationInput, kind: Kind, state: str, **values: Any) -> sa.Update:
    changed = values | {"state": state, "updated_at": dt.datetime.now(dt.UTC)}
    return sa.update(reservations).where(is_of(trip, kind)).values(changed)


_ONE = sa.select(*RESERVATION_COLUMNS).where(
    reservations.c.trip_id == sa.bindparam("trip_id"), reservations.c.kind == sa.bindparam("kind")
)
