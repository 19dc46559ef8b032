"""Hold, price and confirm a trip.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

BEFORE = "state IN ('asked', 'pending', 'reserved', 'cancelling', 'cancelled')"
NOW = "state IN ('asked', 'pending', 'held', 'quoted', 'reserved', 'cancelling', 'cancelled')"


def upgrade() -> None:
    op.add_column("trips", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column("trips", sa.Column("confirmed_at", sa.DateTime(timezone=True)))
    with op.batch_alter_table("reservations") as table:
        table.drop_constraint("known_state", type_="check")
        # Every row that is there met the stricter one.
        table.create_check_constraint("known_state", NOW, postgresql_not_valid=True)
        table.add_column(sa.Column("expires_at", sa.DateTime(timezone=True)))
        table.add_column(sa.Column("price", sa.Text))
        table.add_column(sa.Column("refund", sa.Text))


def downgrade() -> None:
    # It fails while something is held, which the version before would forget.
    with op.batch_alter_table("reservations") as table:
        table.drop_constraint("known_state", type_="check")
        table.create_check_constraint("known_state", BEFORE)
        for column in ("refund", "price", "expires_at"):
            table.drop_column(column)
    for column in ("confirmed_at", "expires_at"):
        op.drop_column("trips", column)
