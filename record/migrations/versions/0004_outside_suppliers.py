"""Let a reservation be one that a supplier outside holds, perhaps.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


BEFORE = "state IN ('reserved', 'cancelled')"
NOW = "state IN ('asked', 'pending', 'reserved', 'cancelling', 'cancelled')"


def upgrade() -> None:
    # SQLite cannot change a constraint: the table is copied into one with the new one.
    with op.batch_alter_table("reservations") as table:
        table.drop_constraint("known_state", type_="check")
        table.create_check_constraint("known_state", NOW)
        table.add_column(sa.Column("supplier", sa.Text))
        table.add_column(sa.Column("reference", sa.Text))
        table.add_column(sa.Column("over_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    # It fails while a supplier outside may hold something, which the version before would forget.
    with op.batch_alter_table("reservations") as table:
        table.drop_constraint("known_state", type_="check")
        table.create_check_constraint("known_state", BEFORE)
        for column in ("over_at", "reference", "supplier"):
            table.drop_column(column)
