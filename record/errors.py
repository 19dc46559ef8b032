"""What can go wrong when the record is asked."""


class RecordError(Exception):
    """The base of what can go wrong here."""


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
