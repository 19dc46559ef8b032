"""The record's tables, as its queries know them. The migrations create them."""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from shared import Price

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


class PriceText(sa.TypeDecorator[Price]):
    """A price, as `120.00 EUR`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Price | None, _dialect: Any) -> str | None:
        """Hand a price over to the driver."""
        return str(value) if value else None

    def process_result_value(self, value: str | None, _dialect: Any) -> Price | None:
        """Take a price from the driver."""
        return Price(*value.split()) if value else None


trips = sa.Table(
    "trips",
    metadata,
    sa.Column("trip_id", AnyText, primary_key=True),
    sa.Column("owner", AnyText, nullable=False),
    sa.Column("key_fingerprint", AnyText),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("status", AnyText, nullable=False),
    sa.Column("reason", AnyText),
    sa.Column("workflow_id", AnyText, nullable=False),
    sa.Column("first_run_id", AnyText),
    sa.Column("accepted_at", UtcTime, nullable=False),
    sa.Column("booked_at", UtcTime),
    sa.Column("cancelled_at", UtcTime),
    sa.Column("told_at", UtcTime),
    sa.Column("closed_at", UtcTime),
    sa.Column("cancel_asked_at", UtcTime),
    sa.Column("expires_at", UtcTime),
    sa.Column("confirmed_at", UtcTime),
)
"""A row for each trip that was ever accepted; `RecordedTrip` tells of each column. An owner has one
trip of each `key_fingerprint`."""

former_owners = sa.Table(
    "former_owners",
    metadata,
    sa.Column("owner", AnyText, primary_key=True),
    sa.Column("former", AnyText, primary_key=True),
)
"""A row for each owner whose trips were handed to `owner`, directly or by way of others."""

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
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("undo_failures", sa.Integer, nullable=False, default=0),
    sa.Column("last_error", AnyText),
    sa.Column("verdict", AnyText),
    sa.Column("note", AnyText),
    sa.Column("booking_seconds", sa.Float),
    sa.Column("undo_seconds", sa.Float),
    sa.Column("expires_at", UtcTime),
    sa.Column("price", PriceText),
    sa.Column("refund", PriceText),
)
"""A row for each step of a trip that a supplier has failed, was asked to book, or was told to undo.

`state`: `asked`, the outcome of a call is unknown, unless `over_at` is null; `pending`, the
supplier has not decided yet; `held`, it holds the item until `expires_at`, and may have been asked
to confirm it if `over_at` is not null; `quoted`, it holds nothing, but can be asked to book;
`reserved`, it has confirmed; `cancelling`, nothing is booked any more, but something may be held;
`cancelled`, nothing is held, and never will be: a tombstone.
`item` is null only in the tombstone of a step that was never tried. `first_run_id` is that of the
execution which made the row, null in rows of versions that did not note it. `supplier` is null
where the embedded one holds it, the only one that has no `reference` and no `over_at`.

`failures` and `undo_failures` are the supplier's own, and `last_error` has its last words.
`verdict`: `failed`, the booking is given up; `stuck`, so is the undo, until somebody acts;
`resolved`, an operator declared it settled, as `note` says. `booking_seconds` is null unless it was
ever booked. `price` is the supplier's, and `refund` what it gives back for the undo; most suppliers
tell neither. `expires_at` is by the database's clock."""

actions = sa.Table(
    "actions",
    metadata,
    sa.Column("action_id", AnyText, primary_key=True),
    sa.Column("trip_id", AnyText, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("caller", AnyText, nullable=False),
    sa.Column("action", AnyText, nullable=False),
    sa.Column("kind", AnyText),
    sa.Column("note", AnyText),
)
"""A row for each thing that a caller has had done to a trip. A cancel has no `kind`, and only a
`resolve` has a `note`."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", AnyText, primary_key=True),
    sa.Column("trip_id", AnyText, nullable=False),
    sa.Column("owner", AnyText, nullable=False),
    sa.Column("status", AnyText, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("position", sa.BigInteger),
    sa.Column("delivery", AnyText),
    sa.Column("due_at", UtcTime),
    sa.Column("not_before", UtcTime),
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("last_error", AnyText),
    sa.Column("delivered_at", UtcTime),
)
"""A row for each change of a trip's status that others are told; `Event` tells of each column.
All times are the database's."""

withdrawn_cookies = sa.Table(
    "withdrawn_cookies",
    metadata,
    sa.Column("fingerprint", AnyText, primary_key=True),
    sa.Column("withdrawn_at", UtcTime, nullable=False),
)
"""A row for each cookie of the codec server that was given back, by its SHA-256, for two days."""

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
