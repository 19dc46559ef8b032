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


def storable(text: str | None) -> str | None:
    """Return what every database keeps of a text from anywhere."""
    if text is None or text.isprintable():
        return text
    # PostgreSQL keeps no NUL, and no database half a character, which JSON may have.
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


class AnyText(sa.TypeDecorator[str]):
    """A text that may come from anywhere, as it is `storable`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Any) -> str | None:
        """Hand a text over to the driver."""
        return storable(value)


trips = sa.Table(
    "trips",
    metadata,
    sa.Column("trip_id", AnyText, primary_key=True),
    # Null: the trip is older than the record, and Temporal has not been asked yet.
    sa.Column("owner", AnyText),
    sa.Column("key_fingerprint", AnyText),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("status", AnyText, nullable=False),
    sa.Column("reason", AnyText),
    sa.Column("steps", sa.JSON(none_as_null=True)),
    sa.Column("workflow_id", AnyText, nullable=False),
    sa.Column("first_run_id", AnyText),
    sa.Column("accepted_at", UtcTime, nullable=False),
    sa.Column("booked_at", UtcTime),
    sa.Column("cancelled_at", UtcTime),
    sa.Column("told_at", UtcTime),
    sa.Column("closed_at", UtcTime),
)
"""A row for each trip that was ever accepted. `workflow_id` and `first_run_id` name the workflow
execution that the trip belongs to, once one has claimed it; `booked_at` is when it was booked, also
if it was cancelled later; `cancelled_at` is when that was asked for of a trip that was over;
`told_at` is the workflow's time of what it told last."""

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("trip_id", AnyText, primary_key=True),
    sa.Column("kind", AnyText, primary_key=True),
    sa.Column("item", AnyText),
    sa.Column("state", AnyText, nullable=False),
    sa.Column("first_run_id", AnyText),
    sa.Column("supplier", AnyText),
    sa.Column("reference", AnyText),
    sa.Column("over_at", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
)
"""`item` is null only in the tombstone of a step that was never booked; `first_run_id` is that of
the execution which made the row, null in rows of versions that did not note it; `supplier` is null
where the embedded one holds it, the only one that has no `reference` and no `over_at`."""

audits = sa.Table(
    "audits",
    metadata,
    sa.Column("audit_id", AnyText, primary_key=True),
    sa.Column("began_at", UtcTime, nullable=False),
    sa.Column("since", UtcTime),
    sa.Column("ended_at", UtcTime),
    sa.Column("trips", sa.Integer),
    sa.Column("not_compared", sa.Integer),
    sa.Column("differences", sa.JSON(none_as_null=True)),
)
"""A row for each audit. It has compared what ended between `since`, null for all, and `began_at`,
and all that was open. The last three are null until it has ended; `differences` has how many there
were of each."""

unaudited = sa.Table(
    "unaudited",
    metadata,
    sa.Column("trip_id", AnyText, primary_key=True),
    sa.Column("noted_at", UtcTime, nullable=False),
)
"""The trips that an audit could not compare to the end: a supplier was away, or could not know yet.
The next one tries again."""
