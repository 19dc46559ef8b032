"""What can go wrong when the record is asked."""

import re

SET_UP_WRONGLY = ("28", "3D", "3F", "42501")
"""Beginnings of PostgreSQL's codes for a role that is refused or lacks a right, and for a database
or a schema that is not there. https://www.postgresql.org/docs/current/errcodes-appendix.html"""

REFUSED = re.compile(
    r"^connection is bad: (?!connection to )|^bad value for |^invalid connection option"
    r"|does not support SSL, but|root certificate file"
    r"|FATAL: +(\S+ authentication failed|permission denied|no such|bouncer config error"
    r"|.*pg_hba\.conf|(role|database) .* (does not exist|is not permitted to log in))"
)
"""How psycopg, the server and PgBouncer word it when they make no connection, without a code."""


class RecordError(Exception):
    """The base of what can go wrong here."""

    def explained(self) -> str:
        """Return one line with the database's own words, which are for logs only."""
        cause = getattr(self.__cause__, "orig", self.__cause__)
        words, _, _ = str(cause or "").partition("\nLINE ")
        return ": ".join(filter(None, [str(self), " ".join(words.split())]))


class RecordUnavailable(RecordError):
    """The database is locked, full, frozen or out of reach, or its schema is not there yet.

    Nothing was written, or something was and the answer was lost. In both cases try again.
    """


class RecordBroken(RecordError):
    """The database refuses, and always will: a missing table, a violated constraint. A bug."""


class RecordMisconfigured(RecordBroken):
    """The database, or the way to it, is set up so that the record cannot work. No outage."""


class ReservationRefused(RecordError):
    """The record refuses a reservation; no later try can succeed."""


def is_set_up_wrongly(error: object) -> bool:
    """Tell whether a PostgreSQL's error is a mistake in the configuration, which no wait mends."""
    if state := getattr(error, "sqlstate", None):
        return str(state).startswith(SET_UP_WRONGLY)
    return bool(REFUSED.search(str(error)))
