"""The trips: each one that was ever accepted, whose it is, and how it ended.

A row belongs to one workflow execution, the first that claims it; the record passes over what
another execution tells of the trip. The API writes the row before it starts the workflow, and the
workflow tells its ending before it closes.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from record.actions import actions_of, add_action
from record.database import Database, add_if_new, now_in, writes
from record.errors import RecordBroken, ReservationRefused
from record.events import change_trip
from record.owners import fingerprint_of, fingerprints_of
from record.steps import RecordedTrip, Row, steps_in
from record.tables import UtcTime, reservations, trips
from shared import (
    KINDS,
    BookVacationInput,
    Execution,
    HeldTrip,
    TripNews,
    TripStatus,
    cancellation_id,
)

UNHELD: tuple[TripStatus, ...] = ("rolled_back", "expired", "cancelled")
"""Nothing is held for such a trip, and nothing will ever be."""

OPEN: tuple[TripStatus, ...] = ("running", "held", "needs_attention")

HELD: tuple[TripStatus, ...] = ("booked", "needs_attention")
"""For such a trip, if it is over, something may be held."""

IDS_AT_ONCE = 500
"""How many ids a statement asks for."""


class PlaceInList(NamedTuple):
    """A place in the list, which is newest first: just after a trip."""

    accepted_at: dt.datetime
    trip_id: str


class Trips:
    """Writes and reads the trips' rows. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def accept(
        self, sql: sa.Connection, trip: RecordedTrip, key: str | None = None
    ) -> tuple[RecordedTrip, bool]:
        """Write the row of a trip that is about to be started, unless there is one.

        There is one if the owner has used the idempotency key before, or if the id is taken.
        Returns the row, and whether it is new.
        """
        if key is not None:
            trip = replace(trip, key_fingerprint=fingerprint_of(key))
        if earlier := _of_key(sql, trip.owner, key):
            return earlier, False
        if _add_if_new(sql, trip):
            return replace(trip, steps=steps_in(trip, {})), True
        return _of_key(sql, trip.owner, key) or _the_trip(sql, trip.trip_id), False

    async def by_id(self, trip_id: str, owner: str | None = None) -> RecordedTrip | None:
        """Return a trip, `None` if there is none of this id, or if it is not the owner's.

        The database tells neither from the other: what differs takes a time that can be measured.
        """
        return await self._database.read(lambda sql: _by_id(sql, trip_id, owner))

    async def by_key(self, owner: str, key: str) -> RecordedTrip | None:
        """Return the owner's trip of an idempotency key, `None` if there is none."""
        return await self._database.read(lambda sql: _of_key(sql, owner, key))

    async def page(
        self,
        limit: int,
        *,
        status: TripStatus | None = None,
        owner: str | None = None,
        after: PlaceInList | None = None,
    ) -> list[RecordedTrip]:
        """Return so many trips, the newest first, from a place on."""
        statement = ALL_TRIPS.order_by(trips.c.accepted_at.desc(), trips.c.trip_id.desc()).limit(
            limit
        )
        if status is not None:
            statement = statement.where(trips.c.status == status)
        if owner is not None:
            statement = statement.where(trips.c.owner == owner)
        if after is not None:
            here = sa.tuple_(trips.c.accepted_at, trips.c.trip_id)
            statement = statement.where(here < tuple(after))
        return await self._read(statement)

    async def open_trips(
        self, before: dt.datetime, after_id: str, limit: int
    ) -> list[RecordedTrip]:
        """Return open trips that were accepted before then, by id, from an id on."""
        return await self._read(
            ALL_TRIPS.where(_IS_OPEN, trips.c.accepted_at < before, trips.c.trip_id > after_id)
            .order_by(trips.c.trip_id)
            .limit(limit)
        )

    async def count(self) -> int:
        """Return how many trips there are."""
        return await self._database.read(lambda sql: sql.execute(_COUNT).scalar_one())

    async def not_just_running(self, trip_ids: Collection[str]) -> list[RecordedTrip]:
        """Return those of the trips that are over, are being cancelled or need attention."""
        return await self._read(ALL_TRIPS.where(trips.c.trip_id.in_(trip_ids), ~_IS_JUST_RUNNING))

    async def missing(self, trip_ids: Collection[str]) -> set[str]:
        """Return those of the ids that the record has no trip of."""
        wanted = sorted(trip_ids)
        statements = [
            sa.select(trips.c.trip_id).where(trips.c.trip_id.in_(wanted[at : at + IDS_AT_ONCE]))
            for at in range(0, len(wanted), IDS_AT_ONCE)
        ]

        def found(sql: sa.Connection) -> set[str]:
            return {row.trip_id for statement in statements for row in sql.execute(statement)}

        return set(wanted) - await self._database.read(found)

    @writes
    def tell(self, sql: sa.Connection, trip: BookVacationInput, news: TripNews) -> str | None:
        """Write what the trip's workflow tells of it. Telling it again changes nothing.

        The record passes over an earlier message that comes after a later one, and over what
        another execution tells. A trip is not undone while a supplier may hold something of a kind
        that there is no more: it needs attention then, and the reason is returned.
        """
        if news.status == "running":
            return None  # A confirm, which Temporal may not keep. Older trips tell it (`patched`).
        is_own = news.status in UNHELD and claim(sql, trip) is not None
        left = _left(sql, trip) if is_own else None
        told = {
            "of_trip": trip.book_user_id,
            "of_run": execution_of(trip).first_run_id,
            "at": news.at,
            "status": "needs_attention" if left else news.status,
            "reason": left or news.reason,
            "closed_at": None if news.status in OPEN else news.at,
            "booked_at": news.at if news.status == "booked" else None,
            "confirmed_at": None if trip.hold_seconds else news.at,
        }
        # A trip that has tried to book anything was claimed then.
        trip_id = trip.book_user_id
        if not change_trip(sql, _TELL, trip_id, told) and claim(sql, trip) is not None:
            change_trip(sql, _TELL, trip_id, told)
        return left

    @writes
    def tell_held(
        self, sql: sa.Connection, trip: BookVacationInput, news: TripNews, seconds: float
    ) -> HeldTrip:
        """Write that all steps of a trip are held, by ourselves for so many seconds.

        Returns what is so at the suppliers. Telling it again changes nothing. That a trip was
        confirmed stays so, though its workflow was reset to before that.
        """
        now, rows = now_in(sql), sql.execute(_HOLDS, {"of_trip": trip.book_user_id}).all()
        ends = [now + dt.timedelta(seconds=seconds)]
        ends += [row.expires_at for row in rows if row.expires_at is not None]
        told = {
            "of_trip": trip.book_user_id,
            "of_run": execution_of(trip).first_run_id,
            "at": news.at,
            "expires_at": min(ends),
        }
        change_trip(sql, _HOLD, trip.book_user_id, told)
        # It may have been told before, and the answer lost.
        row = sql.execute(_HELD, told).one_or_none()
        end = (row and row.expires_at) or min(ends)
        confirmed = row is not None and row.confirmed_at is not None
        quoted = [row.kind for row in rows if row.state == "quoted"]
        return HeldTrip((end - now).total_seconds(), quoted, confirmed)

    async def found(
        self, trip: RecordedTrip, status: TripStatus, reason: str | None
    ) -> RecordedTrip:
        """Write how an open trip has ended whose workflow has not told so, or was never started.

        A trip that was claimed or cancelled meanwhile stays as it is. Returns its row, changed or
        not.
        """
        return await self._change(
            trip.trip_id,
            _IS_OPEN,
            trips.c.first_run_id.is_not_distinct_from(trip.first_run_id),
            trips.c.cancelled_at.is_not_distinct_from(trip.cancelled_at),
            status=status,
            reason=reason,
            closed_at=dt.datetime.now(dt.UTC),
        )

    async def note_cancel(self, trip_id: str) -> None:
        """Write that Temporal has taken the order to cancel a running trip."""
        unnoted = trips.c.cancel_asked_at.is_(None)
        await self._change(trip_id, unnoted, cancel_asked_at=dt.datetime.now(dt.UTC))

    @writes
    def note_confirm(self, sql: sa.Connection, trip_id: str) -> RecordedTrip:
        """Write that Temporal has taken the order to book a held trip. Returns its row.

        That changes nothing once its steps are being booked, or it has expired.
        """
        _confirm(sql, trip_id)
        return _the_trip(sql, trip_id)

    async def still_to_cancel(self, before: dt.datetime) -> list[RecordedTrip]:
        """Return trips that were cancelled before then while they ran, and go on or are booked."""
        return await self._read(
            ALL_TRIPS.where(
                trips.c.cancel_asked_at < before,
                trips.c.cancel_asked_at.is_not(None),
                trips.c.cancelled_at.is_(None),
                # An open one that needs attention is being undone.
                (trips.c.status.in_(["running", "held"]) & trips.c.closed_at.is_(None))
                | (trips.c.status.in_(HELD) & trips.c.closed_at.is_not(None)),
            )
        )

    async def held_too_long(self, seconds: float) -> list[RecordedTrip]:
        """Return trips that are still held so long after they should have expired."""

        def found(sql: sa.Connection) -> list[RecordedTrip]:
            latest = now_in(sql) - dt.timedelta(seconds=seconds)
            is_held = (trips.c.status == "held") & trips.c.closed_at.is_(None)
            return recorded(sql, ALL_TRIPS.where(is_held, trips.c.expires_at < latest))

        return await self._database.read(found)

    @writes
    def begin_cancellation(
        self, sql: sa.Connection, trip_id: str, caller: str | None = None
    ) -> RecordedTrip:
        """Write that a trip which is over is being cancelled, and for whom. Returns its row.

        Without `caller`, whoever has asked for it is noted already.
        """
        begin = _CANCEL.where(trips.c.trip_id == trip_id)
        begun = sql.execute(begin, {"cancelled_at": dt.datetime.now(dt.UTC)}).rowcount
        if begun and caller is not None:
            add_action(sql, trip_id, caller, "cancel")
        return _the_trip(sql, trip_id)

    async def mark(self, row: RecordedTrip, reason: str) -> bool:
        """Write that a trip which has ended needs attention, and why, unless its row has changed.

        Tells whether it is written.
        """
        unchanged = [
            trips.c[name].is_not_distinct_from(getattr(row, name))
            for name in ("status", "first_run_id", "cancelled_at", "told_at", "closed_at")
        ]
        mark = (
            sa.update(trips)
            .where(trips.c.trip_id == row.trip_id, trips.c.closed_at.is_not(None), *unchanged)
            .values(status="needs_attention", reason=reason)
        )
        return await self._database.write(lambda sql: change_trip(sql, mark, row.trip_id))

    async def take_mark_back(
        self, row: RecordedTrip, status: TripStatus, reason: str | None
    ) -> RecordedTrip:
        """Write how a marked trip had ended, unless it has changed. Returns its row."""
        return await self._change(
            row.trip_id,
            IS_MARKED,
            trips.c.reason == row.reason,
            trips.c.cancelled_at.is_not_distinct_from(row.cancelled_at),
            status=status,
            reason=reason,
        )

    async def _change(
        self, trip_id: str, *conditions: sa.ColumnElement[bool], **values: Any
    ) -> RecordedTrip:
        """Change a trip that meets the conditions. Returns its row, changed or not."""
        changed = sa.update(trips).where(trips.c.trip_id == trip_id, *conditions).values(values)

        def change(sql: sa.Connection) -> RecordedTrip:
            change_trip(sql, changed, trip_id)
            return _the_trip(sql, trip_id)

        return await self._database.write(change)

    async def _read(
        self, statement: sa.Select[Any], values: Mapping[str, Any] | None = None
    ) -> list[RecordedTrip]:
        return await self._database.read(lambda sql: recorded(sql, statement, values))


def claim(sql: sa.Connection, trip: BookVacationInput) -> TripStatus | None:
    """Make sure that the trip belongs to the execution which acts for it; return its status.

    The trip's row is locked until the transaction ends. A trip that was started by other means than
    the API has none yet. A held trip that is not to be held any more was confirmed. `None`: the
    trip is another execution's, and not ours to change.
    """
    execution = execution_of(trip)
    key = {"trip_id": trip.book_user_id}
    row = sql.execute(_LOCKED, key).one_or_none()
    if row is None:
        _add_if_new(sql, _unannounced(trip, execution))
        row = sql.execute(_LOCKED, key).one()
    if row.first_run_id == execution.first_run_id:
        if row.status == "held" and not trip.hold_seconds:
            _confirm(sql, trip.book_user_id)
            return "running"
        return cast(TripStatus, row.status)
    if row.first_run_id is not None or not _may_belong_to(row, trip):
        return None
    # If its cancellation is the first to claim a trip, the trip keeps its own workflow's id.
    workflow_id = row.workflow_id if row.cancelled_at else execution.workflow_id
    claimed = {"workflow_id": workflow_id, "first_run_id": execution.first_run_id}
    sql.execute(_CLAIM, {"of_trip": trip.book_user_id} | claimed)
    return cast(TripStatus, row.status)


def _confirm(sql: sa.Connection, trip_id: str) -> None:
    sql.execute(_CONFIRM, {"of_trip": trip_id, "now": now_in(sql)})


def claim_to_undo(sql: sa.Connection, trip: BookVacationInput) -> TripStatus | None:
    """Claim the trip as `claim` does. From now on it is not held any more."""
    status = claim(sql, trip)
    if status == "held":
        it = sa.update(trips).where(trips.c.trip_id == trip.book_user_id)
        sql.execute(it.values(status="running"))
    return status


def claim_own(sql: sa.Connection, trip: BookVacationInput) -> TripStatus:
    """Claim the trip as `claim` does. Raises `ReservationRefused` when it is another's."""
    status = claim(sql, trip)
    if status is None:
        raise ReservationRefused(f"The id {trip.book_user_id} is another trip's")
    return status


def _left(sql: sa.Connection, trip: BookVacationInput) -> str | None:
    """Release what is held here of kinds that there are no more; say what suppliers may hold."""
    own = {"of_trip": trip.book_user_id, "of_run": execution_of(trip).first_run_id}
    if not sql.execute(_LEFT, own).all():
        return None
    sql.execute(_RELEASE, own | {"now": dt.datetime.now(dt.UTC)})
    kinds = " and the ".join(row.kind for row in sql.execute(_LEFT, own))
    return f"The {kinds} may still be held: there is no such step any more" if kinds else None


def _add_if_new(sql: sa.Connection, trip: RecordedTrip) -> bool:
    """Write the row of a trip unless its id or its key is taken; tell whether it was written."""
    return add_if_new(sql, trips, {name: getattr(trip, name) for name in _COLUMNS})


def recorded(
    sql: sa.Connection, statement: sa.Select[Any], values: Mapping[str, Any] | None = None
) -> list[RecordedTrip]:
    """Return the trips that a statement finds, with their steps."""
    rows = sql.execute(statement, values).all()
    reserved: dict[str, dict[str, Row]] = defaultdict(dict)
    if rows:
        for row in sql.execute(_RESERVED, {"ids": [row.trip_id for row in rows]}):
            reserved[row.trip_id][row.kind] = row
    return [_recorded(row, reserved[row.trip_id]) for row in rows]


def _of_key(sql: sa.Connection, owner: str, key: str | None) -> RecordedTrip | None:
    """Return the owner's trip of an idempotency key; of several its own, not one handed to it."""
    if key is None:
        return None
    prints = fingerprints_of(sql, owner, key)
    found = recorded(sql, _OF_KEY, {"owner": owner, "fingerprints": prints})
    return min(found, key=lambda trip: prints.index(str(trip.key_fingerprint)), default=None)


def _the_trip(sql: sa.Connection, trip_id: str) -> RecordedTrip:
    """Return a trip that must be there. Raises `RecordBroken` if it is not."""
    found = _by_id(sql, trip_id)
    if found is None:
        raise RecordBroken(f"The record has no trip {trip_id}")
    return found


def _by_id(sql: sa.Connection, trip_id: str, owner: str | None = None) -> RecordedTrip | None:
    which = _ONE if owner is None else _ONE.where(trips.c.owner == owner)
    for trip in recorded(sql, which, {"trip_id": trip_id}):
        return replace(trip, actions=actions_of(sql, trip_id))
    return None


def execution_of(trip: BookVacationInput) -> Execution:
    """Return the execution that acts for the trip, which every call of the record has to name."""
    if trip.execution is None:
        raise ValueError(f"Nobody says which execution acts for trip {trip.book_user_id}")
    return trip.execution


def _recorded(row: Row, reserved: Mapping[str, Row]) -> RecordedTrip:
    trip = RecordedTrip(**row._mapping)
    return replace(trip, steps=steps_in(trip, reserved))


_COLUMNS = [each.name for each in fields(RecordedTrip) if each.name in trips.c]
ALL_TRIPS = sa.select(*(trips.c[name] for name in _COLUMNS))
_ONE = ALL_TRIPS.where(trips.c.trip_id == sa.bindparam("trip_id"))
_RESERVED = sa.select(reservations).where(
    reservations.c.trip_id.in_(sa.bindparam("ids", expanding=True))
)
IS_MARKED = (trips.c.status == "needs_attention") & trips.c.closed_at.is_not(None)
_IS_OPEN = trips.c.status.in_(OPEN) & trips.c.closed_at.is_(None)
_IS_JUST_RUNNING = (
    (trips.c.status == "running") & trips.c.closed_at.is_(None) & trips.c.cancelled_at.is_(None)
)
_COUNT = sa.select(sa.func.count()).select_from(trips)
_OF_KEY = ALL_TRIPS.where(
    trips.c.owner == sa.bindparam("owner"),
    trips.c.key_fingerprint.in_(sa.bindparam("fingerprints", expanding=True)),
)
# What every trip runs is made once: to make a statement takes longer than to run it.
_CLAIM = (
    sa.update(trips)
    .where(trips.c.trip_id == sa.bindparam("of_trip"))
    .values(workflow_id=sa.bindparam("workflow_id"), first_run_id=sa.bindparam("first_run_id"))
)
_TELL = (
    sa.update(trips)
    .where(
        trips.c.trip_id == sa.bindparam("of_trip"),
        trips.c.first_run_id == sa.bindparam("of_run"),
        trips.c.status.not_in(UNHELD),
        trips.c.told_at.is_(None) | (trips.c.told_at < sa.bindparam("at")),
    )
    .values(
        status=sa.bindparam("status"),
        reason=sa.bindparam("reason"),
        told_at=sa.bindparam("at"),
        closed_at=sa.bindparam("closed_at"),
        booked_at=sa.func.coalesce(trips.c.booked_at, sa.bindparam("booked_at", type_=UtcTime)),
        # A trip that was held, and is not to be held any more, was confirmed.
        confirmed_at=sa.func.coalesce(
            trips.c.confirmed_at,
            sa.case((trips.c.expires_at.is_not(None), sa.bindparam("confirmed_at", type_=UtcTime))),
        ),
    )
)
_CONFIRM = (
    sa.update(trips)
    .where(
        trips.c.trip_id == sa.bindparam("of_trip"),
        trips.c.confirmed_at.is_(None),
        trips.c.status != "expired",
    )
    .values(
        status=sa.case((trips.c.status == "held", "running"), else_=trips.c.status),
        confirmed_at=sa.bindparam("now", type_=UtcTime),
    )
)
_HOLD = (
    sa.update(trips)
    .where(
        trips.c.trip_id == sa.bindparam("of_trip"),
        trips.c.first_run_id == sa.bindparam("of_run"),
        trips.c.status.in_(["running", "held"]),
        trips.c.confirmed_at.is_(None),
        trips.c.told_at.is_(None) | (trips.c.told_at < sa.bindparam("at")),
    )
    .values(
        status="held",
        told_at=sa.bindparam("at"),
        expires_at=sa.bindparam("expires_at", type_=UtcTime),
    )
)
_HELD = sa.select(trips.c.expires_at, trips.c.confirmed_at).where(
    trips.c.trip_id == sa.bindparam("of_trip"), trips.c.first_run_id == sa.bindparam("of_run")
)
_HOLDS = sa.select(reservations.c.kind, reservations.c.state, reservations.c.expires_at).where(
    reservations.c.trip_id == sa.bindparam("of_trip"),
    reservations.c.state.in_(["held", "quoted"]),
)
_IS_LEFT = (
    (reservations.c.trip_id == sa.bindparam("of_trip"))
    & (reservations.c.first_run_id == sa.bindparam("of_run"))
    & (reservations.c.state != "cancelled")
    & reservations.c.kind.not_in(KINDS)
)
_LEFT = sa.select(reservations.c.kind).where(_IS_LEFT).order_by(reservations.c.kind)
_RELEASE = (
    sa.update(reservations)
    .where(_IS_LEFT, reservations.c.supplier.is_(None))
    .values(state="cancelled", updated_at=sa.bindparam("now", type_=UtcTime))
)
_CANCEL = (
    sa.update(trips)
    .where(trips.c.closed_at.is_not(None), trips.c.status.not_in(UNHELD))
    .values(
        status="running", reason=None, cancelled_at=sa.bindparam("cancelled_at"), closed_at=None
    )
)
_LOCKED = _ONE.with_for_update()


def _may_belong_to(row: Row, trip: BookVacationInput) -> bool:
    """Tell whether a trip that nobody has claimed may be the one that this execution acts for."""
    if row.cancelled_at is not None:
        return execution_of(trip).workflow_id == cancellation_id(row.trip_id)
    wanted = all(row.request.get(kind) in (None, trip.item(kind)) for kind in KINDS)
    return wanted and row.closed_at is None


def _unannounced(trip: BookVacationInput, execution: Execution) -> RecordedTrip:
    """Return the row of a trip that was started by other means than the API: the CLI, say."""
    return RecordedTrip(
        trip_id=trip.book_user_id,
        owner=trip.owner,
        request=trip.request,
        status="running",
        workflow_id=execution.workflow_id,
        accepted_at=dt.datetime.now(dt.UTC),
    )
