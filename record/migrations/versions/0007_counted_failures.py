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

from record.tables import storable

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

READ = ("trip_id", "status", "steps", "first_run_id", "accepted_at", "closed_at")
"""The columns that tell of a trip's steps."""

TOLD = (
    *("failures", "undo_failures", "last_error", "verdict", "note"),
    *("booking_seconds", "undo_seconds"),
)
"""The new columns."""

RESERVATIONS = sa.table(
    "reservations",
    *(sa.column(name) for name in ("trip_id", "kind", "item", "state", "first_run_id", "supplier")),
    *(sa.column(name, TIME) for name in ("created_at", "updated_at")),
    *(sa.column(name) for name in TOLD),
)

UNNOTED = {
    "booking": "asked",
    "failed": "asked",
    "undoing": "cancelling",
    "stuck": "cancelling",
    "undone": "cancelled",
    "resolved": "cancelled",
}
"""The state of the row that a step needs now, and did not need before, by the state of the step."""

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
    # The version before would take a failure of the embedded supplier for a booking.
    op.execute(
        sa.delete(RESERVATIONS).where(
            RESERVATIONS.c.state == "asked", RESERVATIONS.c.supplier.is_(None)
        )
    )
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
        kept = connection.execute(
            sa.select(RESERVATIONS.c.trip_id, RESERVATIONS.c.kind, RESERVATIONS.c.state).where(
                RESERVATIONS.c.trip_id.in_([trip.trip_id for trip in trips])
            )
        )
        states = {(row.trip_id, row.kind): row.state for row in kept}
        there, missing = [], []
        for trip in trips:
            for step in trip.steps:
                state = states.get((trip.trip_id, step["kind"]))
                if state is not None:
                    there.append(_told(trip, step, state))
                elif step["state"] in UNNOTED and step["item"] is not None:
                    missing.append(_row(trip, step))
        if there:
            connection.execute(_SET, there)
        if missing:
            op.bulk_insert(RESERVATIONS, missing)
    # A workflow may have booked a step and told nothing of it.
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
    .values({name: sa.bindparam(f"of_{name}") for name in TOLD})
)


def _in_batches(connection: sa.Connection) -> Iterator[list[Any]]:
    """Return the trips whose workflows have told of their steps, page by page."""
    # Not above: every process loads the migrations when it starts.
    from tqdm import tqdm

    last = ""
    trips = connection.scalar(sa.select(sa.func.count()).select_from(TRIPS))
    shown = tqdm(desc="Steps moved", total=trips, unit=" trips", disable=None if trips else True)
    with shown:  # In a terminal only.
        while page := connection.execute(
            sa.select(*(TRIPS.c[name] for name in READ))
            .where(TRIPS.c.trip_id > last)
            .order_by(TRIPS.c.trip_id)
            .limit(BATCH)
        ).all():
            last = page[-1].trip_id
            if told := [trip for trip in page if trip.steps]:
                yield told
            shown.update(len(page))


def _told(trip: Any, step: dict[str, Any], kept: str) -> dict[str, Any]:
    """Return what a workflow has told of a step, as the row of the step has it.

    Earlier versions have told less. `kept` is the state of the row, which may be newer.
    """
    state, seconds = step["state"], step.get("booking_seconds")
    is_back = state in ("undone", "resolved")
    was_booked = (
        kept == "reserved"
        or step.get("held", False)
        # A step that failed has its seconds, too.
        or (is_back and seconds is not None and not _failed(trip, step))
    )
    verdict = state if state in ("failed", "resolved") else None
    if state == "stuck" and kept != "cancelled":
        verdict = "stuck"
    if is_back and verdict is None and _failed(trip, step):
        verdict = "failed"
    succeeded = kept in ("cancelling", "cancelled") and verdict not in ("stuck", "resolved")
    return {
        "of_trip": trip.trip_id,
        "of_kind": step["kind"],
        "of_failures": max(step.get("attempts", 0) - was_booked, 0),
        "of_undo_failures": max(step.get("undo_attempts", 0) - succeeded, 0),
        "of_last_error": storable(step.get("last_error")),
        "of_verdict": verdict,
        "of_note": storable(step.get("note")),
        "of_booking_seconds": (seconds or 0.0) if was_booked else None,
        "of_undo_seconds": step.get("undo_seconds"),
    }


def _failed(trip: Any, step: dict[str, Any]) -> bool:
    """Tell whether a trip was rolled back because of this step: it is the last that was tried."""
    tried = [each["kind"] for each in trip.steps if each.get("attempts")]
    return trip.status == "rolled_back" and tried[-1:] == [step["kind"]]


def _row(trip: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a step that had none, because the embedded supplier had booked nothing."""
    state = UNNOTED[step["state"]]
    told = _told(trip, step, state)
    at = trip.closed_at or trip.accepted_at
    return {name: told[f"of_{name}"] for name in TOLD} | {
        "trip_id": trip.trip_id,
        "kind": step["kind"],
        "item": storable(step["item"]),
        "state": state,
        "first_run_id": trip.first_run_id,
        "created_at": at,
        "updated_at": at,
    }
