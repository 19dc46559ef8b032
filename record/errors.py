"""What can go wrong when the record is asked."""


class RecordError(Exception):
    """The base of what can go wrong here."""


class RecordUnavailable(RecordError):
    """The database is locked, full, frozen or out of reach, or its schema is not there yet.

    Nothing was written, or it may have been and the answer was lost; either way, try again.
    """


class RecordBroken(RecordError):
    """The database refuses, and always will: a missing table, a violated constraint. A bug."""


class ReservationRefused(RecordError):
    """The record refuses a reservation; no later try can succeed."""


class ForeignTrip(ReservationRefused):
    """The trip of that id belongs to another workflow execution, which alone may change it."""


class HeldElsewhere(ReservationRefused):
    """A reservation was asked of a supplier that is somebody else's, and only there can it end."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"The {kind} was booked at a supplier that is not set up any more")
