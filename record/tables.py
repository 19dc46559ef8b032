"""The record's tables, as its queries know them. The migrations create them."""

import datetime as dt
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class UtcTime(sa.TypeDecorator[dt.datetime]):
    """A time in UTC. SQLite keeps no time zone, so it is given back here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, _dialect: Any) -> dt.datetime | None:
        """Hand a time over to the driver."""
        return value and value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, _dialect: Any) -> dt.datetime | None:
        """Take a time from the driver."""
        return value and value.replace(tzinfo=value.tzinfo or dt.UTC).astimezone(dt.UTC)


trips = sa.Table(
    "trips",
    metadata,
    sa.Column("trip_id", sa.Text, primary_key=True),
    # Null: the trip is older than the record, and Temporal has not been asked yet.
    sa.Column("owner", sa.Text),
    sa.Column("key_fingerprint", sa.Text),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("steps", sa.JSON(none_as_null=True)),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("first_run_id", sa.Text),
    sa.Column("accepted_at", UtcTime, nullable=False),
    sa.Column("cancelled_at", UtcTime),
    sa.Column("told_at", UtcTime),
    sa.Column("closed_at", UtcTime),
)
"""A row for each trip that was ever accepted. `workflow_id` and `first_run_id` name the workflow
execution that the trip belongs to, once one has claimed it; `cancelled_at` is when the cancellation
of a trip that was over was asked for; `told_at` is the workflow's time of what it told last."""

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("trip_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("item", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("first_run_id", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
)
"""`item` is null only in the tombstone of a step that was never booked; `first_run_id` is that of
the execution which made the row, null in rows of versions that did not note it."""
