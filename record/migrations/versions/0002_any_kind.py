"""Let a reservation be of any kind: which kinds there are is for the code to say.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # SQLite cannot drop a constraint: the table is copied into one without it.
    with op.batch_alter_table("reservations") as table:
        table.drop_constraint("known_kind", type_="check")


def downgrade() -> None:
    with op.batch_alter_table("reservations") as table:
        table.create_check_constraint("known_kind", "kind IN ('car', 'hotel', 'flight')")
