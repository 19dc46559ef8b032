"""Create the reservations table.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("trip_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("item", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('car', 'hotel', 'flight')", name="known_kind"),
        sa.CheckConstraint("state IN ('reserved', 'cancelled')", name="known_state"),
        sa.CheckConstraint("state = 'cancelled' OR item IS NOT NULL", name="reserved_has_item"),
    )


def downgrade() -> None:
    op.drop_table("reservations")
