"""Keep each audit, and which trips are still to be compared; find trips by when they ended.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("audit_id", sa.Text, primary_key=True),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("since", TIME),
        sa.Column("ended_at", TIME),
        sa.Column("trips", sa.Integer),
        sa.Column("not_compared", sa.Integer),
        sa.Column("differences", sa.JSON(none_as_null=True)),
    )
    op.create_table(
        "unaudited",
        sa.Column("trip_id", sa.Text, primary_key=True),
        sa.Column("noted_at", TIME, nullable=False),
    )
    # Nobody ends a trip while it is made, so it comes last.
    op.create_index("trips_by_end", "trips", ["closed_at", "trip_id"])


def downgrade() -> None:
    op.drop_index("trips_by_end", "trips")
    op.drop_table("unaudited")
    op.drop_table("audits")
