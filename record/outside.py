"""What we asked of suppliers that are services of their own, and what they said.

They know what they hold. The record keeps what we know of it, in the same rows as the embedded
reservations; `record.tables` tells what each state means.
"""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from record.database import Database, now_in, writes
from record.errors import ReservationRefused
from record.reservations import (
    UNBOOKED,
    Reservation,
    ReservationState,
    change,
    check_bookable,
    check_price,
    claim_to_book,
    note,
    put,
    reservation_of,
    was_undone,
)
from record.tables import reservations
from record.trips import UNHELD, claim_own, claim_to_undo
from shared import BookVacationInput, Kind, Price


class OutsideReservations:
    """Notes tries and their outcomes. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def begin_try(
        self,
        sql: sa.Connection,
        trip: BookVacationInput,
        kind: Kind,
        supplier: str,
        over_at: dt.datetime,
        instead_of: Reservation | None = None,
    ) -> Reservation | None:
        """Note a try to book that is about to be sent, and is over at `over_at`.

        Returns `None` when the try may be sent. If an earlier try has left something, nothing is
        noted and that is returned, unless it is `instead_of`, which the caller has looked for at
        the supplier. What is held stays held. Raises as `reserve` does.
        """
        claim_to_book(sql, trip)
        held = reservation_of(sql, trip, kind)
        if held is not None:
            check_bookable(trip, kind, held)
            changed_nothing = held.state == "asked" and held.over_at is None
            if not changed_nothing and held != instead_of:
                return held
        state: ReservationState = "held" if held and held.state == "held" else "asked"
        put(sql, trip, kind, held, state, supplier=supplier, over_at=over_at)
        return None

    @writes
    def hold(
        self,
        sql: sa.Connection,
        trip: BookVacationInput,
        kind: Kind,
        price: Price | None,
        expires_in: float | None,
        over_at: dt.datetime | None,
        seconds: float,
    ) -> None:
        """Note that the supplier holds the item for `expires_in` seconds, which took `seconds`.

        `None`: it holds nothing, but can be asked to book. `over_at` is as in `confirm`. Raises
        `ReservationRefused` when that is too dear, or the step was undone meanwhile.
        """
        claim_to_book(sql, trip)
        check_price(sql, trip, kind, price, None)
        state: ReservationState = "quoted"
        values: dict[str, Any] = {"price": price, "over_at": None, "failures": 0}
        if expires_in is not None:
            state = "held"
            values["over_at"] = over_at
            values["expires_at"] = now_in(sql) + dt.timedelta(seconds=expires_in)
            values["booking_seconds"] = seconds
        hold = change(trip, kind, state=state, **values).where(
            reservations.c.state.in_(UNBOOKED), reservations.c.verdict.is_(None)
        )
        if sql.execute(hold).rowcount == 0:
            raise was_undone(trip, kind)

    async def end_try(
        self,
        trip: BookVacationInput,
        kind: Kind,
        over_at: dt.datetime,
        ended: dt.datetime | None,
    ) -> None:
        """Note that the try which was to be over at `over_at` has ended before.

        `ended` is `None` when it has changed nothing. The step may be about to be undone.
        """
        end = note(trip, kind, over_at=ended).where(reservations.c.over_at == over_at)
        await self._database.write(lambda sql: sql.execute(end))

    async def note_pending(self, trip: BookVacationInput, kind: Kind) -> None:
        """Note that the supplier has the try and has not decided yet."""
        pending = change(trip, kind, state="pending").where(reservations.c.state == "asked")
        await self._database.write(lambda sql: sql.execute(pending))

    @writes
    def confirm(
        self,
        sql: sa.Connection,
        trip: BookVacationInput,
        kind: Kind,
        reference: str | None,
        over_at: dt.datetime | None = None,
        seconds: float = 0.0,
        price: Price | None = None,
    ) -> None:
        """Note that the supplier has booked the item, and that the booking took `seconds`.

        `over_at` is when a supplier said so that shows its bookings late. Raises
        `ReservationRefused` when the step was undone meanwhile or is too dear, and
        `RecordUnavailable`.
        """
        if price or trip.max_price:
            claim_own(sql, trip)
            held = reservation_of(sql, trip, kind)
            check_price(sql, trip, kind, price, held.price if held else None)
        took = sa.func.coalesce(reservations.c.booking_seconds, seconds)
        values: dict[str, Any] = {
            "reference": reference,
            "over_at": over_at,
            "booking_seconds": took,
        }
        if price:
            values["price"] = price
        confirm = change(trip, kind, state="reserved", **values).where(
            reservations.c.state.in_([*UNBOOKED, "reserved"])
        )
        if sql.execute(confirm).rowcount == 0:
            raise was_undone(trip, kind)

    @writes
    def begin_cancel(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind
    ) -> Reservation | None:
        """Refuse every later try, and return what may be held, for it to be cancelled.

        `None`: the supplier holds nothing of this trip's own. Raises `RecordUnavailable`.
        """
        if claim_to_undo(sql, trip) is None:
            return None
        held = reservation_of(sql, trip, kind)
        if held is None:
            put(sql, trip, kind, None, "cancelled")
        if held is None or held.state == "cancelled":
            return None
        if held.verdict == "stuck":
            sql.execute(note(trip, kind, verdict=None))  # Its undo is tried again.
        if held.state == "cancelling":
            return held
        nothing_sent = held.state == "quoted" or (held.state == "asked" and held.over_at is None)
        was_sent = held.supplier and not nothing_sent
        put(sql, trip, kind, held, "cancelling" if was_sent else "cancelled")
        return held if was_sent else None

    @writes
    def begin_late_cancel(
        self, sql: sa.Connection, trip: BookVacationInput, kind: Kind, supplier: str
    ) -> None:
        """Note that a supplier holds something for a trip that is over and may hold nothing.

        Then `begin_cancel` returns it again. Raises `ReservationRefused` when the trip is another
        execution's, or is not over, and `RecordUnavailable`.
        """
        if claim_own(sql, trip) not in UNHELD:
            raise ReservationRefused(f"Trip {trip.book_user_id} is not over")
        held = reservation_of(sql, trip, kind)
        if held is None or held.state == "cancelled":
            found = {"item": trip.item(kind), "supplier": supplier, "over_at": None}
            put(sql, trip, kind, held, "cancelling", **found)

    async def released(
        self,
        trip: BookVacationInput,
        kind: Kind,
        seconds: float = 0.0,
        refund: Price | None = None,
    ) -> None:
        """Note that the supplier holds nothing any more, and that the undo took `seconds`."""
        told = {"undo_seconds": seconds, "refund": refund}
        values = {"state": "cancelled", "over_at": None, **told}
        released = change(trip, kind, **values).where(reservations.c.state == "cancelling")
        await self._database.write(lambda sql: sql.execute(released))
