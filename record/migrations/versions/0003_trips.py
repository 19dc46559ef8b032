"""Record every trip: a row for each, and for each reservation the execution that made it.

Trips that were made before are derived from their reservations. How those of them went which hold a
part only, or are under way still, Temporal or an operator has to say: they count as running.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BATCH = 1_000


def upgrade() -> None:
    op.add_column("reservations", sa.Column("first_run_id", sa.Text))
    trips = op.create_table(
        "trips",
        sa.Column("trip_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text),
        sa.Column("key_fingerprint", sa.Text),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("steps", sa.JSON(none_as_null=True)),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("first_run_id", sa.Text),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
    )
    rows = op.get_bind().execute(
        sa.text(
            "SELECT trip_id, kind, item, state, created_at, updated_at FROM reservations"
            " ORDER BY trip_id"
        ).columns(created_at=sa.DateTime(timezone=True), updated_at=sa.DateTime(timezone=True))
    )
    for batch in _batches(_trip(trip_id, of_trip) for trip_id, of_trip in _by_trip(rows)):
        op.bulk_insert(trips, batch)
    # What is listed: all, those of an owner, those of a status, both; and what is looked after.
    order = ["accepted_at", "trip_id"]
    for columns in ([], ["owner"], ["status"], ["owner", "status"]):
        name = "_".join(["trips", "by", *(columns or ["age"])])
        op.create_index(name, "trips", [*columns, *order])


def downgrade() -> None:
    op.drop_table("trips")
    op.drop_column("reservations", "first_run_id")


def _by_trip(rows: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    for trip_id, of_trip in groupby(rows, key=lambda row: row.trip_id):
        yield trip_id, list(of_trip)


def _trip(trip_id: str, reservations: list[Any]) -> dict[str, Any]:
    reserved = {row.kind: row.item for row in reservations if row.state == "reserved"}
    status, reason = "running", None
    if len(reserved) == 3:
        status = "booked"
    if not reserved:
        status, reason = "rolled_back", "It was rolled back or cancelled before trips were recorded"
    return {
        "trip_id": trip_id,
        "request": {row.kind: row.item for row in reservations if row.item is not None},
        "status": status,
        "reason": reason,
        "workflow_id": trip_id,
        "accepted_at": min(row.created_at for row in reservations),
        "closed_at": None if status == "running" else max(row.updated_at for row in reservations),
    }


def _batches(trips: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for trip in trips:
        batch.append(trip)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
