"""Tell others of trips: an event for each change of a status.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

UNNUMBERED = sa.text("position IS NULL")
UNDELIVERED = sa.text("delivery IN ('due', 'again', 'begun', 'given_up')")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("delivery", sa.Text),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
    )
    op.create_index("events_trip", "events", ["trip_id", "sequence"], unique=True)
    op.create_index("events_position", "events", ["position"], unique=True)
    op.create_index("events_owner", "events", ["owner", "position"])
    for name, column, which in (
        ("events_unnumbered", "at", UNNUMBERED),
        ("events_undelivered", "due_at", UNDELIVERED),
    ):
        op.create_index(name, "events", [column], sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    op.drop_table("events")
