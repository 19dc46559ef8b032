"""Note whose trips were handed to whom: before version 3 a key's hash had its owner in it.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "former_owners",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("former", sa.Text, primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("former_owners")
