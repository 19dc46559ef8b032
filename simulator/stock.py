"""What the simulated suppliers hold, in a SQLite file of their own: a `kill -9` loses none of it.

A transaction is short and done on the spot, in whatever thread asks; what is to happen later is a
row with a due time. It knows states and places, and not why something is booked or refused.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.sqlite import insert

from simulator.behaviour import Item

State = Literal["late", "pending", "confirmed", "cancelling", "cancelled"]
"""`late` is a booking that has not taken effect yet: it takes no place, and only audits see it."""

TAKES_A_PLACE = ("confirmed", "pending", "cancelling")

_metadata = sa.MetaData()

_reservations = sa.Table(
    "reservations",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("trip_id", sa.Text, nullable=False),
    sa.Column("item", sa.Text),  # A tombstone of what was never booked has none.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("due", sa.Float),  # Seconds since the epoch.
    sa.Index("reservations_of_a_trip", "kind", "trip_id"),
)
sa.Index("reservations_due", _reservations.c.due, sqlite_where=_reservations.c.due.is_not(None))

_items = sa.Table(
    "items",
    _metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("item", sa.Text, primary_key=True),
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("taken", sa.Integer, nullable=False, default=0),
)

_tries = sa.Table(
    "tries",
    _metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("trip_id", sa.Text, primary_key=True),
    sa.Column("tries", sa.Integer, nullable=False),
)

_settings = sa.Table(
    "settings",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Made once: to make a statement costs as much as to execute it.
_of_trip = (
    sa.select(_reservations)
    .where(
        _reservations.c.kind == sa.bindparam("kind"),
        _reservations.c.trip_id == sa.bindparam("trip_id"),
    )
    .order_by(_reservations.c.id)
)
_next_due = (
    sa.select(_reservations)
    .where(_reservations.c.due <= sa.bindparam("now"))
    .order_by(_reservations.c.due)
    .limit(1)
)
_add = insert(_reservations)
_of_item = sa.and_(
    _items.c.kind == sa.bindparam("of_kind"), _items.c.item == sa.bindparam("of_item")
)
_take = (
    sa.update(_items)
    .where(_of_item, _items.c.taken < _items.c.capacity)
    .values(taken=_items.c.taken + 1)
)
_give_back = sa.update(_items).where(_of_item).values(taken=_items.c.taken - 1)

Setting = TypeVar("Setting", bound=BaseModel)

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REFERENCES = len(_DIGITS) ** 6


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
    def takes_a_place(self) -> bool:
        """Whether it takes one of its item's places."""
        return self.state in TAKES_A_PLACE

    @property
    def reference(self) -> str | None:
        """The supplier's name for it: unique, and no hint at how many reservations exist."""
        if self.item is None or self.state in ("late", "pending"):
            return None
        number = self.id * 1_000_000_007 % _REFERENCES  # One to one: no common factor.
        digits = (_DIGITS[number // len(_DIGITS) ** place % len(_DIGITS)] for place in range(6))
        return "".join(digits)


class ItemPlaces(NamedTuple):
    """How many places an item has."""

    capacity: int
    taken: int


class Stock:
    """The file. Only one process opens it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, file: Path) -> Self:
        """Open the file; a new one is made. Raises `sqlalchemy.exc.DBAPIError`."""
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(file)))
        sa.event.listen(engine, "connect", _configure)
        sa.event.listen(
            engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
        try:
            _metadata.create_all(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator["Shelves"]:
        """Run the block as one transaction, alone: it takes effect as a whole or not at all."""
        with self._engine.begin() as connection:
            yield Shelves(connection)

    def setting(self, default: Setting) -> Setting:
        """Return the kept settings of this type, or the default."""
        query = sa.select(_settings.c.value).where(_settings.c.name == type(default).__name__)
        with self._engine.begin() as connection:
            kept = connection.scalar(query)
        return type(default).model_validate_json(kept) if kept else default

    def keep(self, setting: BaseModel) -> None:
        """Keep settings. They replace those of the same type."""
        row = {"name": type(setting).__name__, "value": setting.model_dump_json()}
        kept = insert(_settings).values(row)
        with self._engine.begin() as connection:
            connection.execute(kept.on_conflict_do_update(set_={"value": row["value"]}))


class Shelves:
    """The stock during one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._sql = connection

    def rows(self) -> list[Row]:
        """Return every reservation of every kind, the oldest first."""
        query = sa.select(_reservations).order_by(_reservations.c.id)
        return [Row(*row) for row in self._sql.execute(query)]

    def rows_of(self, kind: str, trip_id: str) -> list[Row]:
        """Return a trip's reservations, the oldest first."""
        rows = self._sql.execute(_of_trip, {"kind": kind, "trip_id": trip_id})
        return [Row(*row) for row in rows]

    def next_due(self, now: float) -> Row | None:
        """Return the reservation that has been due for longest."""
        row = self._sql.execute(_next_due, {"now": now}).one_or_none()
        return Row(*row) if row else None

    def add(
        self, kind: str, trip_id: str, item: str | None, state: State, due: float | None = None
    ) -> Row:
        """Add a reservation. Its place must have been taken."""
        values = {"kind": kind, "trip_id": trip_id, "item": item, "state": state, "due": due}
        added = self._sql.execute(_add, values)
        (row_id,) = added.inserted_primary_key or (0,)
        return Row(row_id, kind, trip_id, item, state, due)

    def move(self, row: Row, state: State, due: float | None = None) -> None:
        """Change a reservation's state, and give its place back if it needs none any more.

        A place that it comes to need must have been taken.
        """
        self._sql.execute(
            sa.update(_reservations)
            .where(_reservations.c.id == row.id)
            .values(state=state, due=due)
        )
        if row.takes_a_place and state not in TAKES_A_PLACE:
            self._sql.execute(_give_back, {"of_kind": row.kind, "of_item": row.item})

    def drop(self, row: Row) -> None:
        """Forget a late booking."""
        self._sql.execute(sa.delete(_reservations).where(_reservations.c.id == row.id))

    def take_place(self, kind: str, item: Item) -> bool:
        """Take a place of an item, if there is one left."""
        of_item = {"of_kind": kind, "of_item": item.name}
        if self._sql.execute(_take, of_item).rowcount:
            return True
        new = insert(_items).values(kind=kind, item=item.name, capacity=item.places)
        is_new = self._sql.execute(new.on_conflict_do_nothing()).rowcount
        return bool(is_new and self._sql.execute(_take, of_item).rowcount)

    def places(self, kind: str, item: Item) -> ItemPlaces:
        """Return how many places an item has, and how many are taken."""
        query = sa.select(_items.c.capacity, _items.c.taken)
        row = self._sql.execute(
            query.where(_of_item), {"of_kind": kind, "of_item": item.name}
        ).one_or_none()
        return ItemPlaces(*row) if row else ItemPlaces(item.places, 0)

    def set_capacity(self, kind: str, item: Item, capacity: int) -> None:
        """Set how many places an item has. Trips keep what they hold, even beyond that number."""
        new = insert(_items).values(kind=kind, item=item.name, capacity=capacity)
        self._sql.execute(new.on_conflict_do_update(set_={"capacity": capacity}))

    def count_try(self, kind: str, trip_id: str) -> int:
        """Return the number of this try of a trip, from 1."""
        new = insert(_tries).values(kind=kind, trip_id=trip_id, tries=1)
        counted = new.on_conflict_do_update(set_={"tries": _tries.c.tries + 1})
        tries: int = self._sql.execute(counted.returning(_tries.c.tries)).scalar_one()
        return tries


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own implicit BEGIN is turned off so that the one above is the only one.
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
