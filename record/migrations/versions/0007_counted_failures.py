"""Count failures where they happen, and find a trip by its idempotency key.

What the workflows told of their steps, which stood in `trips.steps`, goes to the rows of their
reservations. The column stays for the version before, and is read no more.

Revision ID: 0007
Revises: 0006
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BATCH = 1_000

TIME = sa.DateTime(timezone=True)

TRIPS = sa.table(
    "trips",
    sa.column("trip_id"),
    sa.column("owner"),
    sa.column("key_fingerprint"),
    sa.column("status"),
    sa.column("reason"),
    sa.column("steps", sa.JSON),
    sa.column("first_run_id"),
    sa.column("accepted_at", TIME),
    sa.column("closed_at", TIME),
)

RESERVATIONS = sa.table(
    "reservations",
    sa.column("trip_id"),
    sa.column("kind"),
    sa.column("state"),
    *(sa.column(name) for name in ("failures", "undo_failures", "last_error", "verdict", "note")),
    *(sa.column(name) for name in ("booking_seconds", "undo_seconds")),
)

STUCK = sa.text("verdict = 'stuck'")
HAS_KEY = sa.text("key_fingerprint IS NOT NULL")


def upgrade() -> None:
    for name in ("failures", "undo_failures"):
        column = sa.Column(name, sa.Integer, nullable=False, server_default="0")
        op.add_column("reservations", column)
    for name in ("last_error", "verdict", "note"):
        op.add_column("reservations", sa.Column(name, sa.Text))
    for name in ("booking_seconds", "undo_seconds"):
        op.add_column("reservations", sa.Column(name, sa.Float))
    _end_what_nobody_goes_on_with()
    # Of trips that are older than the record nobody noted whose they are.
    op.execute(sa.update(TRIPS).where(TRIPS.c.owner.is_(None)).values(owner=""))
    op.execute(sa.update(TRIPS).where(TRIPS.c.first_run_id == "").values(first_run_id=None))
    _move_steps()
    op.create_index(
        "reservations_stuck",
        "reservations",
        ["updated_at"],
        sqlite_where=STUCK,
        postgresql_where=STUCK,
    )
    op.create_index(
        "trips_by_key",
        "trips",
        ["owner", "key_fingerprint"],
        unique=True,
        sqlite_where=HAS_KEY,
        postgresql_where=HAS_KEY,
    )


def downgrade() -> None:
    op.drop_index("trips_by_key", "trips")
    op.drop_index("reservations_stuck", "reservations")
    for name in ("undo_seconds", "booking_seconds", "note", "verdict", "last_error"):
        op.drop_column("reservations", name)
    for name in ("undo_failures", "failures"):
        op.drop_column("reservations", name)


def _end_what_nobody_goes_on_with() -> None:
    """Have an operator look at trips that the first version left under way."""
    op.execute(
        sa.update(TRIPS)
        .where(TRIPS.c.first_run_id == "", TRIPS.c.status == "running")
        .values(
            status="needs_attention",
            reason="It was under way before trips were recorded; reservations may still be held",
            closed_at=dt.datetime.now(dt.UTC),
        )
    )


def _move_steps() -> None:
    connection = op.get_bind()
    for trips in _in_batches(connection):
        ids = [trip.trip_id for trip in trips]
        kept = connection.execute(
            sa.select(RESERVATIONS.c.trip_id, RESERVATIONS.c.kind, RESERVATIONS.c.state).where(
                RESERVATIONS.c.trip_id.in_(ids)
            )
        )
        states = {(row.trip_id, row.kind): row.state for row in kept}
        told = [
            row
            for trip in trips
            for row in _told(trip)
            if (row["of_trip"], row["of_kind"]) in states
        ]
        if told:
            connection.execute(_SET, told)
    # What never told of its steps, and was booked all the same.
    connection.execute(
        sa.update(RESERVATIONS)
        .where(RESERVATIONS.c.state == "reserved", RESERVATIONS.c.booking_seconds.is_(None))
        .values(booking_seconds=0.0)
    )


_SET = (
    sa.update(RESERVATIONS)
    .where(
        RESERVATIONS.c.trip_id == sa.bindparam("of_trip"),
        RESERVATIONS.c.kind == sa.bindparam("of_kind"),
    )
    .values(
        failures=sa.bindparam("of_failures"),
        undo_failures=sa.bindparam("of_undo_failures"),
        last_error=sa.bindparam("of_last_error"),
        verdict=sa.bindparam("of_verdict"),
        note=sa.bindparam("of_note"),
        booking_seconds=sa.bindparam("of_booking_seconds"),
        undo_seconds=sa.bindparam("of_undo_seconds"),
    )
)


def _in_batches(connection: sa.Connection) -> Iterator[list[Any]]:
    """Return the trips that tell of their steps, page by page."""
    last = ""
    while True:
        page = connection.execute(
            sa.select(TRIPS.c.trip_id, TRIPS.c.status, TRIPS.c.steps)
            .where(TRIPS.c.trip_id > last)
            .order_by(TRIPS.c.trip_id)
            .limit(BATCH)
        ).all()
        if not page:
            return
        last = page[-1].trip_id
        yield [trip for trip in page if trip.steps]


def _told(trip: Any) -> Iterator[dict[str, Any]]:
    """Return what a trip has told of each step, as the rows of its reservations have it."""
    tried = [step["kind"] for step in trip.steps if step.get("attempts")]
    for step in trip.steps:
        # The step at which a trip was rolled back is the last that was tried.
        failed = trip.status == "rolled_back" and tried[-1:] == [step["kind"]]
        attempts, undo_attempts = step.get("attempts", 0), step.get("undo_attempts", 0)
        state = step["state"]
        booked = attempts > 0 and not failed and state != "failed"
        verdict = state if state in ("failed", "stuck", "resolved") else None
        if failed and verdict is None:
            verdict = "failed"
        yield {
            "of_trip": trip.trip_id,
            "of_kind": step["kind"],
            "of_failures": attempts - booked,
            "of_undo_failures": max(undo_attempts - (state == "undone"), 0),
            "of_last_error": step.get("last_error"),
            "of_verdict": verdict,
            "of_note": step.get("note"),
            "of_booking_seconds": step.get("booking_seconds") or 0.0 if booked else None,
            "of_undo_seconds": step.get("undo_seconds"),
        }
