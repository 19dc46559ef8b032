"""How the promises to travellers stand: which open trips take too long, and since when.

The questions read open trips and undecided reservations only, each by an index, so that they cost
the same however many trips the record has.
"""

import datetime as dt

import sqlalchemy as sa

from record.audits import last_audit
from record.database import Database, now_in
from record.events import IS_UNDELIVERED
from record.tables import events, reservations, trips
from record.trips import OPEN


async def promises_now(
    database: Database, trip_deadline: dt.timedelta
) -> dict[str, float | dict[str, float]]:
    """Return what keeps travellers waiting, and what the last audit has come to, in numbers.

    A stuck undo counts from its supplier's last failure on. An outcome is unknown when the supplier
    has not decided, or when its answer was lost and no further try is under way. Raises
    `RecordError`.
    """

    def ask(sql: sa.Connection) -> dict[str, float | dict[str, float]]:
        now = dt.datetime.now(dt.UTC)
        counted = {row.status: row.trips for row in sql.execute(_OPEN_TRIPS)}
        stuck, stuck_since = sql.execute(_STUCK).one()
        unknown, unknown_since = sql.execute(_UNKNOWN, {"now": now}).one()
        told: dict[str, float | dict[str, float]] = {
            "trips_open": {status: counted.get(status, 0) for status in OPEN},
            "trips_past_deadline": sql.execute(
                _LATE, {"accepted_before": now - trip_deadline}
            ).scalar_one(),
            "undos_stuck": stuck,
            "undo_stuck_oldest_age_seconds": _age(now, stuck_since),
            "outcomes_unknown": unknown,
            "outcome_unknown_oldest_age_seconds": _age(now, unknown_since),
        }
        waiting, waits_since = sql.execute(_WAITING).one()
        given_up = sql.execute(_GIVEN_UP).scalar_one()
        told["events_undelivered"] = {"waiting": waiting, "given_up": given_up}
        told["event_undelivered_oldest_age_seconds"] = _age(now_in(sql), waits_since)
        audit = last_audit(sql)
        if audit is not None and audit.ended_at is not None:
            told["audit_last_success_timestamp_seconds"] = audit.ended_at.timestamp()
            told["audit_differences"] = dict(audit.differences or {})
        return told

    return await database.read(ask)


def _age(now: dt.datetime, since: dt.datetime | None) -> float:
    # The clocks of two servers may differ.
    return max((now - since).total_seconds(), 0.0) if since else 0.0


_OPEN_TRIPS = (
    sa.select(trips.c.status, sa.func.count().label("trips"))
    .where(trips.c.status.in_(OPEN))
    .group_by(trips.c.status)
)
_LATE = sa.select(sa.func.count()).where(
    trips.c.status == "running",
    sa.func.coalesce(trips.c.cancelled_at, trips.c.confirmed_at, trips.c.accepted_at)
    < sa.bindparam("accepted_before", type_=trips.c.accepted_at.type),
)
# A partial index is used where the database can prove that it has all that is asked for. It cannot
# prove that of a parameter, and SQLite compares the words.
# https://www.sqlite.org/partialindex.html
_STUCK = sa.select(sa.func.count(), sa.func.min(reservations.c.updated_at)).where(
    sa.text("reservations.verdict = 'stuck'"), reservations.c.state != "cancelled"
)
_UNKNOWN = sa.select(sa.func.count(), sa.func.min(reservations.c.updated_at)).where(
    sa.text("reservations.state IN ('asked', 'pending')"),
    (reservations.c.state == "pending")
    | (reservations.c.over_at < sa.bindparam("now", type_=reservations.c.over_at.type)),
)
_WAITING = sa.select(sa.func.count(), sa.func.min(events.c.due_at)).where(
    IS_UNDELIVERED, events.c.delivery != "given_up"
)
_GIVEN_UP = sa.select(sa.func.count()).where(IS_UNDELIVERED, events.c.delivery == "given_up")
