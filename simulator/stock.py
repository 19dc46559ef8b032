"""What the simulated suppliers hold, in a SQLite file of their own: a `kill -9` loses none of it.

What is to happen later is a row with a due time. Each change is one statement, so none is ever half
done. The stock knows states and places, and not why something is booked or refused.
"""

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from shared import keep_private
from simulator.behaviour import PLENTY, Item

State = Literal["late", "held", "pending", "confirmed", "cancelling", "cancelled"]
"""`late` is a booking that has not taken effect yet: it takes no place, and only audits see it."""

TAKES_A_PLACE = ("held", "confirmed", "pending", "cancelling")

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS reservations (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    trip_id TEXT NOT NULL,
    item TEXT, -- A tombstone of what was never booked has none.
    state TEXT NOT NULL,
    due FLOAT -- Seconds since the epoch.
);
CREATE INDEX IF NOT EXISTS reservations_of_a_trip ON reservations (kind, trip_id);
CREATE INDEX IF NOT EXISTS reservations_of_an_item ON reservations (kind, item, state);
CREATE INDEX IF NOT EXISTS reservations_due ON reservations (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS tries (
    kind TEXT NOT NULL,
    trip_id TEXT NOT NULL,
    tries INTEGER NOT NULL,
    PRIMARY KEY (kind, trip_id)
);
"""


@dataclass(frozen=True)
class Row:
    """A reservation, or the tombstone of one."""

    id: int
    kind: str
    trip_id: str
    item: str | None
    state: State
    due: float | None

    @property
    def reference(self) -> str | None:
        """The supplier's name for it: unique, and no hint at how many reservations exist."""
        if self.item is None or self.state in ("late", "held", "pending"):
            return None
        return f"{self.id * 1_000_000_007 % 16**6:06X}"  # One to one: no common factor.


class Stock:
    """The file. Only one process opens it, and only one of its threads uses it."""

    def __init__(self, file: Path) -> None:
        """Open the file; a new one is made. Raises `sqlite3.Error`."""
        keep_private(file)
        self._sql = sqlite3.connect(file, isolation_level=None)
        try:
            self._sql.executescript(SCHEMA)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def rows(self) -> list[Row]:
        """Return every reservation of every kind, the oldest first."""
        return self._rows("ORDER BY id")

    def rows_of(self, kind: str, trip_id: str) -> list[Row]:
        """Return a trip's reservations, the oldest first."""
        return self._rows("WHERE kind = ? AND trip_id = ? ORDER BY id", kind, trip_id)

    def next_due(self, now: float) -> Row | None:
        """Return the reservation that has been due for longest."""
        return next(iter(self._rows("WHERE due <= ? ORDER BY due LIMIT 1", now)), None)

    def add(
        self, kind: str, trip_id: str, item: str | None, state: State, due: float | None = None
    ) -> Row:
        """Add a reservation."""
        added = self._sql.execute(
            "INSERT INTO reservations (kind, trip_id, item, state, due) VALUES (?, ?, ?, ?, ?)",
            (kind, trip_id, item, state, due),
        )
        return Row(added.lastrowid or 0, kind, trip_id, item, state, due)

    def move(self, row: Row, state: State, due: float | None = None) -> Row:
        """Change a reservation's state."""
        change = "UPDATE reservations SET state = ?, due = ? WHERE id = ?"
        self._sql.execute(change, (state, due, row.id))
        return replace(row, state=state, due=due)

    def drop(self, row: Row) -> None:
        """Forget a late booking."""
        self._sql.execute("DELETE FROM reservations WHERE id = ?", (row.id,))

    def has_place(self, kind: str, item: Item) -> bool:
        """Tell whether an item has a place left. Places without number are not counted."""
        if item.places >= PLENTY:
            return True
        (taken,) = self._sql.execute(
            "SELECT count(*) FROM reservations"
            " WHERE kind = ? AND item = ? AND state IN (?, ?, ?, ?)",
            (kind, item.name, *TAKES_A_PLACE),
        ).fetchone()
        return bool(taken < item.places)

    def count_try(self, kind: str, trip_id: str) -> int:
        """Return the number of this try of a trip, from 1."""
        (tries,) = self._sql.execute(
            "INSERT INTO tries VALUES (?, ?, 1)"
            " ON CONFLICT DO UPDATE SET tries = tries + 1 RETURNING tries",
            (kind, trip_id),
        ).fetchone()
        return int(tries)

    def _rows(self, which: str, *values: Any) -> list[Row]:
        query = f"SELECT id, kind, trip_id, item, state, due FROM reservations {which}"  # noqa: S608 - our own text
        return [Row(*row) for row in self._sql.execute(query, values)]
