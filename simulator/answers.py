"""What the simulated suppliers answer: the contract, and how their modes depart from it.

It decides in terms of the contract's statuses, and knows nothing of connections. Before it answers
anything it does whatever has become due.
"""

import datetime as dt
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any, Self

from shared import Price
from simulator.behaviour import Item, Mode
from simulator.stock import Row, State, Stock

CANCELLED = ("cancelling", "cancelled")

BEST_FIRST = ("confirmed", "pending", "held", "cancelling", "cancelled")
"""A trip may have several reservations: GET and DELETE mean the first in this order."""


@dataclass(frozen=True)
class SimulatedAnswer:
    """An answer of the contract: what is held, or a problem."""

    status: HTTPStatus
    body: dict[str, Any]
    wait: int | None = None
    """Seconds after which to ask again."""
    cut_off: bool = False
    """Whether the caller never hears it."""

    @classmethod
    def problem(cls, status: HTTPStatus, detail: str, wait: int | None = None) -> Self:
        """Return a problem whose `detail` is meant for travellers."""
        return cls(status, {"status": status, "title": status.phrase, "detail": detail}, wait)


class SimulatedSuppliers:
    """The suppliers of every kind. The stock keeps what must survive a restart."""

    def __init__(
        self,
        stock: Stock,
        mode: Mode,
        pending_seconds: float = 3.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stock = stock
        self._pending_seconds = pending_seconds
        self._clock = clock
        self.mode = mode

    def now(self) -> float:
        """Return the time by the suppliers' own clock."""
        return self._clock() + self.mode.clock_ahead

    def book(
        self,
        kind: str,
        trip_id: str,
        name: str,
        late: bool = False,
        hold_until: float | None = None,
    ) -> SimulatedAnswer:
        """Book an item for a trip, or hold it. With `late` answer that it failed, and book later.

        A hold is never late.
        """
        item, rows = Item.named(name), self._rows_of(kind, trip_id)
        known = self._known(kind, rows, item)
        if known is not None:
            return known
        if item.words & {"unknown", "invalid"}:
            return SimulatedAnswer.problem(HTTPStatus.NOT_FOUND, f"There is no {kind} {name}")
        if "sold-out" in item.words:
            return _sold_out(kind, item)
        tries = self.stock.count_try(kind, trip_id) - item.failures if item.words else 1
        if tries < 1:
            return _down(kind)
        if "busy" in item.words and tries == 1:
            busy = HTTPStatus.TOO_MANY_REQUESTS
            return SimulatedAnswer.problem(busy, f"The {kind} supplier is busy", wait=2)
        is_late = any(row.state == "late" for row in rows)
        is_late_item = "late" in item.words and (tries == 1 or is_late)
        if hold_until is None and (late or is_late_item):
            if not (is_late and self.mode.idempotent):
                due = self._clock() + self.mode.late_seconds
                self.stock.add(kind, trip_id, name, "late", due)
            return _down(kind)
        if hold_until is not None and "quote-only" in item.words:
            return SimulatedAnswer(HTTPStatus.OK, {"state": "quoted", **_price(item.price)})
        if not self.stock.has_place(kind, item):
            return _sold_out(kind, item)
        begun = self._begin(item, self._clock())
        if hold_until is not None:
            latest = self._clock() + self.mode.longest_hold
            begun = "held", min(hold_until - self.mode.clock_ahead, latest)
        row = self.stock.add(kind, trip_id, name, *begun)
        lost = "lost-answer" in item.words and tries == 1
        return replace(self._told(row, HTTPStatus.CREATED), cut_off=lost)

    def confirm(self, kind: str, trip_id: str) -> SimulatedAnswer:
        """Book what is held for a trip. Doing so again changes nothing."""
        row = self._best(kind, trip_id)
        if row is None:
            return _not_there(kind)
        if row.state in CANCELLED:
            return SimulatedAnswer.problem(HTTPStatus.GONE, f"The {kind} is not held any more")
        if row.state == "held":
            item = Item.named(row.item or "")
            if "no-confirm" in item.words:
                detail = f"The {kind} {item.name} cannot be confirmed"
                return SimulatedAnswer.problem(HTTPStatus.CONFLICT, detail)
            row = self.stock.move(row, *self._begin(item, self._clock()))
        return self._told(row)

    def find(self, kind: str, trip_id: str) -> SimulatedAnswer:
        """Tell what a trip holds."""
        row = self._best(kind, trip_id)
        if row is None:
            return _not_there(kind)
        return replace(self._told(row), status=HTTPStatus.OK)

    def cancel(self, kind: str, trip_id: str) -> SimulatedAnswer:
        """Cancel what a trip holds. If it holds several reservations, cancel one of them."""
        row = self._best(kind, trip_id)
        was_booked = row is not None and row.state == "confirmed"
        if row is None:
            if not self.mode.tombstones:
                return _not_there(kind)
            row = self.stock.add(kind, trip_id, None, "cancelled")
        if row.state in ("confirmed", "held", "pending"):
            words = Item.named(row.item or "").words
            if row.state == "confirmed" and "non-refundable" in words:
                return SimulatedAnswer.problem(HTTPStatus.CONFLICT, "This fare cannot be refunded")
            slowly = "slow-to-cancel" in words
            due = self._clock() + self._pending_seconds if slowly else None
            row = self.stock.move(row, "cancelling" if slowly else "cancelled", due)
        if row.state == "cancelling":
            return self._undecided(row, {"state": "cancelling"})
        refund = Item.named(row.item or "").final_price if was_booked else None
        cancelled = {"state": "cancelled", **_price(refund, "refund")}
        return SimulatedAnswer(HTTPStatus.OK, cancelled)

    def is_slow(self, kind: str, trip_id: str) -> bool:
        """Tell whether what a trip holds is slow."""
        row = self._best(kind, trip_id)
        return row is not None and "slow" in Item.named(row.item or "").words

    def rows(self) -> list[Row]:
        """Return every reservation of every kind, the oldest first."""
        self._settle()
        return self.stock.rows()

    def _rows_of(self, kind: str, trip_id: str) -> list[Row]:
        self._settle()
        return self.stock.rows_of(kind, trip_id)

    def _best(self, kind: str, trip_id: str) -> Row | None:
        """Return the reservation that a question about a trip is about."""
        told = [row for row in self._rows_of(kind, trip_id) if row.state in BEST_FIRST]
        return min(told, key=lambda row: BEST_FIRST.index(row.state), default=None)

    def _settle(self) -> None:
        """Do all that has become due."""
        while row := self.stock.next_due(self._clock()):
            item = Item.named(row.item or "")
            match row.state:
                case "late":
                    rows = self.stock.rows_of(row.kind, row.trip_id)
                    known = self._known(row.kind, rows, item)
                    if known is not None or not self.stock.has_place(row.kind, item):
                        self.stock.drop(row)
                    else:
                        self.stock.move(row, *self._begin(item, row.due or 0.0))
                case "pending" if "pending-sold-out" not in item.words:
                    self.stock.move(row, "confirmed")
                case _:
                    self.stock.move(row, "cancelled")

    def _begin(self, item: Item, at: float) -> tuple[State, float | None]:
        """Return the state in which a reservation begins, and until when."""
        if item.words & {"pending", "pending-sold-out"}:
            return "pending", at + self._pending_seconds
        return "confirmed", None

    def _known(self, kind: str, rows: list[Row], item: Item) -> SimulatedAnswer | None:
        """Return the answer that follows from a trip's reservations; `None` if it may book."""
        if self.mode.tombstones and any(row.state in CANCELLED for row in rows):
            return SimulatedAnswer.problem(
                HTTPStatus.CONFLICT, f"The reservation of this {kind} was cancelled"
            )
        held = {row.item: row for row in rows if row.state in ("confirmed", "held", "pending")}
        if not (held and self.mode.idempotent):
            return None
        if item.name in held:
            return self._told(held[item.name])
        return SimulatedAnswer.problem(
            HTTPStatus.CONFLICT, f"This trip has a reservation of another {kind}"
        )

    def _told(self, row: Row, status: HTTPStatus = HTTPStatus.OK) -> SimulatedAnswer:
        """Return what a reservation is. One that is being cancelled is still held."""
        state = "confirmed" if row.state == "cancelling" else row.state
        item = Item.named(row.item or "")
        price = item.price if state == "held" else item.final_price
        about = {"state": state, "item": row.item, "reference": row.reference, **_price(price)}
        if state == "held":
            ends = dt.datetime.fromtimestamp((row.due or 0.0) + self.mode.clock_ahead, dt.UTC)
            about["expires_at"] = ends.isoformat()
        body = {name: value for name, value in about.items() if value is not None}
        return (
            self._undecided(row, body) if row.state == "pending" else SimulatedAnswer(status, body)
        )

    def _undecided(self, row: Row, body: dict[str, Any]) -> SimulatedAnswer:
        wait = max(1, math.ceil((row.due or 0.0) - self._clock()))
        return SimulatedAnswer(HTTPStatus.ACCEPTED, body, wait)


def _price(price: Price | None, name: str = "price") -> dict[str, Any]:
    return {name: asdict(price)} if price else {}


def _down(kind: str) -> SimulatedAnswer:
    return SimulatedAnswer.problem(HTTPStatus.SERVICE_UNAVAILABLE, f"The {kind} supplier is down")


def _sold_out(kind: str, item: Item) -> SimulatedAnswer:
    return SimulatedAnswer.problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"The {kind} {item.name} is sold out"
    )


def _not_there(kind: str) -> SimulatedAnswer:
    return SimulatedAnswer.problem(HTTPStatus.NOT_FOUND, f"There is no reservation of a {kind}")
