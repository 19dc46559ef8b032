"""The trips: each one that was ever accepted, whose it is, and how it ended.

A row belongs to one workflow execution, the first that claims it; what another one tells of the
trip is passed over. The API writes the row before it starts the workflow, and the workflow tells
its ending before it closes.
"""

import contextlib
import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from record.database import Database
from record.errors import ForeignTrip
from record.tables import UtcTime, trips
from shared import (
    KINDS,
    BookVacationInput,
    Execution,
    StepProgress,
    TripNews,
    TripStatus,
    steps_as_json,
    steps_from_json,
)

UNHELD: tuple[TripStatus, ...] = ("rolled_back", "cancelled")
"""Nothing is held for such a trip, and nothing will ever be."""

OPEN: tuple[TripStatus, ...] = ("running", "needs_attention")

IDS_AT_ONCE = 500
"""How many ids a statement asks for."""

OLDER = ""
"""The first run of a trip that is older than the record."""

CLOCKS_DIFFER = dt.timedelta(minutes=1)
"""By so much the clocks of the database's clients and of Temporal may differ."""


@dataclass(frozen=True)
class RecordedTrip:
    """A trip as the record has it."""

    trip_id: str
    owner: str | None
    """Whose trip it is; `None`: it is older than the record, and nobody has asked Temporal yet."""
    request: dict[str, Any]
    """What the traveller asked for, by the names of the API's request."""
    status: TripStatus
    workflow_id: str
    accepted_at: dt.datetime
    key_fingerprint: str | None = None
    first_run_id: str | None = None
    """Of the execution that the trip belongs to; `None`: none has claimed it. `OLDER`: one has that
    nobody noted."""
    booked_at: dt.datetime | None = None
    """When it was booked, also if it was cancelled later."""
    reason: str | None = None
    steps: list[StepProgress] | None = None
    """How the steps stood when a workflow told of them last."""
    cancelled_at: dt.datetime | None = None
    """When the cancellation of the trip, which was over, was asked for."""
    closed_at: dt.datetime | None = None
    """When its workflow ended, by itself or stopped from outside."""
    told_at: dt.datetime | None = None
    """The workflow's time of what it told last: of its ending, if that is no other than its own."""


class Place(NamedTuple):
    """A place in the list, which is newest first: just after a trip."""

    accepted_at: dt.datetime
    trip_id: str


class Trips(Database):
    """Writes and reads the trips' rows."""

    async def accept(self, trip: RecordedTrip) -> tuple[RecordedTrip, bool]:
        """Write the row of a trip that is about to be started, unless there is one.

        Returns the row, and whether it is new. Raises `RecordUnavailable`.
        """

        def accept(sql: sa.Connection) -> tuple[RecordedTrip, bool]:
            if sql.execute(self._insert_if_new, _values(trip)).one_or_none():
                return trip, True
            return recorded(sql.execute(_ONE, {"trip_id": trip.trip_id}).one()), False

        return await self._write(accept)

    async def trip(self, trip_id: str) -> RecordedTrip | None:
        """Return a trip's row. Raises `RecordUnavailable`."""
        row = await self._read(lambda sql: sql.execute(_ONE, {"trip_id": trip_id}).one_or_none())
        return None if row is None else recorded(row)

    async def page(
        self,
        limit: int,
        *,
        status: TripStatus | None = None,
        owner: str | None = None,
        after: Place | None = None,
    ) -> list[RecordedTrip]:
        """Return so many trips, the newest first, from a place on. Raises `RecordUnavailable`."""
        statement = ALL_TRIPS.order_by(trips.c.accepted_at.desc(), trips.c.trip_id.desc()).limit(
            limit
        )
        if status is not None:
            statement = statement.where(trips.c.status == status)
        if owner is not None:
            statement = statement.where(trips.c.owner == owner)
        if after is not None:
            here = sa.tuple_(trips.c.accepted_at, trips.c.trip_id)
            statement = statement.where(here < sa.tuple_(*_typed(after)))
        return await self._read(lambda sql: [recorded(row) for row in sql.execute(statement)])

    async def open_trips(
        self, before: dt.datetime, after_id: str, limit: int
    ) -> list[RecordedTrip]:
        """Return open trips that were accepted before then, by id, from an id on."""
        statement = (
            ALL_TRIPS.where(_IS_OPEN, trips.c.accepted_at < before, trips.c.trip_id > after_id)
            .order_by(trips.c.trip_id)
            .limit(limit)
        )
        return await self._read(lambda sql: [recorded(row) for row in sql.execute(statement)])

    async def not_just_running(self, trip_ids: Collection[str]) -> list[RecordedTrip]:
        """Return those of the trips that are over, are being cancelled or need attention.

        Raises `RecordUnavailable`.
        """
        statement = ALL_TRIPS.where(trips.c.trip_id.in_(trip_ids), ~_IS_JUST_RUNNING)
        return await self._read(lambda sql: [recorded(row) for row in sql.execute(statement)])

    async def missing(self, trip_ids: Collection[str]) -> set[str]:
        """Return those of the ids that the record has no trip of. Raises `RecordUnavailable`."""
        wanted = sorted(trip_ids)
        statements = [
            sa.select(trips.c.trip_id).where(trips.c.trip_id.in_(wanted[at : at + IDS_AT_ONCE]))
            for at in range(0, len(wanted), IDS_AT_ONCE)
        ]

        def found(sql: sa.Connection) -> set[str]:
            return {row.trip_id for statement in statements for row in sql.execute(statement)}

        return set(wanted) - await self._read(found)

    async def tell(self, trip: BookVacationInput, news: TripNews) -> None:
        """Write what the trip's workflow tells of it. Telling it again changes nothing.

        What comes late is passed over, and so is what another execution tells. Raises
        `RecordUnavailable`.
        """
        told = {
            "of_trip": trip.book_user_id,
            "of_run": cast(Execution, trip.execution).first_run_id,
            "at": news.at,
            "status": news.status,
            "reason": news.reason,
            "steps": steps_as_json(news.steps),
            "closed_at": None if news.status in OPEN else news.at,
            "booked_at": news.at if news.status == "booked" else None,
        }

        def tell(sql: sa.Connection) -> None:
            # A trip that has tried to book anything was claimed then.
            if sql.execute(_TELL, told).rowcount == 0:
                with contextlib.suppress(ForeignTrip):
                    self._claim(sql, trip)
                    sql.execute(_TELL, told)

        await self._write(tell)

    async def adopt(self, trip: RecordedTrip) -> RecordedTrip:
        """Write what Temporal tells of a trip that no workflow has claimed; return its row.

        What is known of its owner stays. Raises `RecordUnavailable`.
        """
        row, new = await self.accept(trip)
        if new:
            return row
        began_by_then = trips.c.accepted_at >= trip.accepted_at - CLOCKS_DIFFER
        return await self._change(
            trip.trip_id,
            trips.c.workflow_id == trip.workflow_id,
            trips.c.cancelled_at.is_(None),
            trips.c.first_run_id.is_(None) | ((trips.c.first_run_id == OLDER) & began_by_then),
            owner=sa.func.coalesce(trips.c.owner, trip.owner, ""),
            request=trip.request,
            first_run_id=trip.first_run_id,
        )

    async def disown(self, trip_id: str) -> RecordedTrip:
        """Take note that nobody knows whose trip it is. Returns its row."""
        return await self._change(trip_id, trips.c.owner.is_(None), owner="")

    async def withdraw(self, trip_id: str, status: TripStatus, reason: str) -> RecordedTrip:
        """End a trip that no workflow has claimed; none can book it any more. Returns its row."""
        return await self._change(
            trip_id,
            _IS_OPEN,
            trips.c.first_run_id.is_(None),
            trips.c.cancelled_at.is_(None),
            status=status,
            reason=reason,
            closed_at=dt.datetime.now(dt.UTC),
        )

    async def found(
        self,
        trip: RecordedTrip,
        status: TripStatus,
        reason: str | None,
        steps: list[StepProgress] | None,
    ) -> RecordedTrip:
        """Write how the workflow which acts for an open trip has ended, which it has not told.

        Returns the trip's row, changed or not. Raises `RecordUnavailable`.
        """
        now = dt.datetime.now(dt.UTC)
        return await self._change(
            trip.trip_id,
            _IS_OPEN,
            trips.c.cancelled_at.is_not_distinct_from(trip.cancelled_at),
            status=status,
            reason=reason,
            steps=None if steps is None else steps_as_json(steps),
            booked_at=sa.func.coalesce(trips.c.booked_at, now if status == "booked" else None),
            closed_at=now,
        )

    async def begin_cancellation(self, trip_id: str) -> RecordedTrip:
        """Write that a trip which is over is being cancelled. Returns its row."""
        return await self._change(
            trip_id,
            trips.c.closed_at.is_not(None),
            trips.c.status.not_in(UNHELD),
            status="running",
            reason=None,
            cancelled_at=dt.datetime.now(dt.UTC),
            closed_at=None,
        )

    async def _change(
        self, trip_id: str, *conditions: sa.ColumnElement[bool], **values: Any
    ) -> RecordedTrip:
        """Change a trip that meets the conditions. Returns its row, changed or not."""
        changed = sa.update(trips).where(trips.c.trip_id == trip_id, *conditions).values(values)

        def change(sql: sa.Connection) -> RecordedTrip:
            sql.execute(changed)
            return recorded(sql.execute(_ONE, {"trip_id": trip_id}).one())

        return await self._write(change)

    def _claim(self, sql: sa.Connection, trip: BookVacationInput) -> TripStatus:
        """Make sure that the trip belongs to the execution which acts for it; return its status.

        The trip's row is locked until the transaction ends. A trip that was started by other means
        than the API has none yet. Raises `ForeignTrip`.
        """
        execution = cast(Execution, trip.execution)
        key = {"trip_id": trip.book_user_id}
        row = sql.execute(_LOCKED, key).one_or_none()
        if row is None:
            sql.execute(self._insert_if_new, _values(_unannounced(trip, execution)))
            row = sql.execute(_LOCKED, key).one()
        if not row.first_run_id and _may_belong_to(row, trip, execution):
            sql.execute(
                _CLAIM,
                {
                    "of_trip": trip.book_user_id,
                    # The trip's own workflow, where its cancellation is the one that claims it.
                    "workflow_id": row.workflow_id if row.cancelled_at else execution.workflow_id,
                    "first_run_id": execution.first_run_id,
                },
            )
        elif row.first_run_id != execution.first_run_id:
            raise ForeignTrip(f"The id {trip.book_user_id} is another trip's")
        return cast(TripStatus, row.status)

    @cached_property
    def _insert_if_new(self) -> sa.Executable:
        insert = self._insert_into(trips).on_conflict_do_nothing(index_elements=["trip_id"])
        return insert.returning(trips.c.trip_id)


_COLUMNS = [trips.c[field] for field in RecordedTrip.__dataclass_fields__]
ALL_TRIPS = sa.select(*_COLUMNS)
_ONE = ALL_TRIPS.where(trips.c.trip_id == sa.bindparam("trip_id"))
_IS_OPEN = trips.c.status.in_(OPEN) & trips.c.closed_at.is_(None)
_IS_JUST_RUNNING = (
    (trips.c.status == "running") & trips.c.closed_at.is_(None) & trips.c.cancelled_at.is_(None)
)
_LOCKED = _ONE.with_for_update()
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
        steps=sa.bindparam("steps"),
        told_at=sa.bindparam("at"),
        closed_at=sa.bindparam("closed_at"),
        booked_at=sa.func.coalesce(trips.c.booked_at, sa.bindparam("booked_at", type_=UtcTime)),
    )
)


def _may_belong_to(row: sa.Row[Any], trip: BookVacationInput, execution: Execution) -> bool:
    """Tell whether a trip that nobody has claimed may be this execution's."""
    if row.cancelled_at is not None:
        return True
    if any(row.request.get(kind) not in (None, trip.item(kind)) for kind in KINDS):
        return False
    # Which workflow made a trip that is older than the record is not known; but none did that
    # began later than the trip.
    began = execution.started_at
    return row.first_run_id is None or began is None or began <= row.accepted_at + CLOCKS_DIFFER


def _unannounced(trip: BookVacationInput, execution: Execution) -> RecordedTrip:
    """Return the row of a trip that was started by other means than the API: the CLI, say."""
    return RecordedTrip(
        trip_id=trip.book_user_id,
        owner=trip.owner,
        request=trip.request,
        status="running",
        workflow_id=execution.workflow_id,
        accepted_at=execution.started_at or dt.datetime.now(dt.UTC),
    )


def _values(trip: RecordedTrip) -> dict[str, Any]:
    steps = None if trip.steps is None else steps_as_json(trip.steps)
    return {**vars(trip), "steps": steps}


def recorded(row: sa.Row[Any]) -> RecordedTrip:
    """Return the trip that a row of the table tells of."""
    values = dict(row._mapping)
    steps = values.pop("steps")
    return RecordedTrip(**values, steps=None if steps is None else steps_from_json(steps))


def _typed(place: Place) -> list[sa.ColumnElement[Any]]:
    return [
        sa.literal(place.accepted_at, trips.c.accepted_at.type),
        sa.literal(place.trip_id, trips.c.trip_id.type),
    ]
