"""Note that a running trip was cancelled: a reset of its workflow forgets it.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ASKED = sa.text("cancel_asked_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("trips", sa.Column("cancel_asked_at", sa.DateTime(timezone=True)))
    op.create_index(
        "trips_cancel_asked", "trips", ["status"], sqlite_where=ASKED, postgresql_where=ASKED
    )


def downgrade() -> None:
    op.drop_index("trips_cancel_asked", "trips")
    op.drop_column("trips", "cancel_asked_at")
