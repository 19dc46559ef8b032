"""Find the reservations that are undecided without reading all.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# The embedded suppliers' reservations are never so: booking one costs nothing more.
UNDECIDED = sa.text("state IN ('asked', 'pending')")


def upgrade() -> None:
    op.create_index(
        "reservations_undecided",
        "reservations",
        ["updated_at"],
        sqlite_where=UNDECIDED,
        postgresql_where=UNDECIDED,
    )


def downgrade() -> None:
    op.drop_index("reservations_undecided", "reservations")
