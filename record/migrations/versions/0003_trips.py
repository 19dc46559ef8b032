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

TIME = sa.DateTime(timezone=True)

RESERVATIONS = sa.table(
    "reservations",
    sa.column("trip_id"),
    sa.column("kind"),
    sa.column("item"),
    sa.column("state"),
    sa.column("created_at", TIME),
    sa.column("updated_at", TIME),
)

TRIPS = sa.table(
    "trips",
    sa.column("trip_id"),
    sa.column("request", sa.JSON),
    sa.column("status"),
    sa.column("reason"),
    sa.column("workflow_id"),
    sa.column("first_run_id"),
    sa.column("accepted_at", TIME),
    sa.column("booked_at", TIME),
    sa.column("closed_at", TIME),
)


def upgrade() -> None:
    op.create_table(
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
        sa.Column("booked_at", sa.DateTime(timezone=True)),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
    )
    _fill(sa.true())
    # What is listed: all, those of an owner, those of a status, both; and what is looked after.
    order = ["accepted_at", "trip_id"]
    for columns in ([], ["owner"], ["status"], ["owner", "status"]):
        name = "_".join(["trips", "by", *(columns or ["age"])])
        op.create_index(name, "trips", [*columns, *order])
    # From here on nobody else reserves, so it comes last; and whoever did meanwhile is not missed.
    op.add_column("reservations", sa.Column("first_run_id", sa.Text))
    _fill(RESERVATIONS.c.trip_id.not_in(sa.select(TRIPS.c.trip_id)))


def downgrade() -> None:
    op.drop_table("trips")
    op.drop_column("reservations", "first_run_id")


def _fill(of_whom: sa.ColumnElement[bool]) -> None:
    """Derive trips from their reservations."""
    # Not above: every process loads the migrations when it starts.
    from tqdm import tqdm

    connection = op.get_bind()
    trips = connection.scalar(
        sa.select(sa.func.count(RESERVATIONS.c.trip_id.distinct())).where(of_whom)
    )
    rows = connection.execute(
        sa.select(RESERVATIONS).where(of_whom).order_by(RESERVATIONS.c.trip_id),
        execution_options={"yield_per": BATCH},
    )
    shown = tqdm(desc="Recorded", total=trips, unit=" trips", disable=None if trips else True)
    with shown:  # In a terminal only.
        for batch in _batches(_trip(trip_id, of_trip) for trip_id, of_trip in _by_trip(rows)):
            op.bulk_insert(TRIPS, batch)
            shown.update(len(batch))


def _by_trip(rows: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    for trip_id, of_trip in groupby(rows, key=lambda row: row.trip_id):
        yield trip_id, list(of_trip)


def _trip(trip_id: str, reservations: list[Any]) -> dict[str, Any]:
    reserved = {row.kind: row.item for row in reservations if row.state == "reserved"}
    status, reason = "running", None
    ended = max(row.updated_at for row in reservations)
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
        # An execution has claimed it; which one, nobody noted.
        "first_run_id": "",
        "accepted_at": min(row.created_at for row in reservations),
        "booked_at": ended if status == "booked" else None,
        "closed_at": None if status == "running" else ended,
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
