"""What can go wrong when the API asks about bookings, as values that it can act on."""


class BookingsError(Exception):
    """The base of what can go wrong here."""


class TemporalUnavailable(BookingsError):
    """Temporal, or a worker behind it, could not be asked. A start may still have got through."""


class NoWorker(TemporalUnavailable):
    """Temporal has the request, and no worker takes it: none runs that works on this trip."""


class TemporalRefuses(BookingsError):
    """Temporal refuses what it is asked, and will do so until somebody changes something.

    The message is the reason in our words; its cause has Temporal's, which are for the logs.
    """


class BookingNotFound(BookingsError):
    """There is no such trip, or it is not the caller's."""


class BookingDiffers(BookingsError):
    """A trip of that id was started already, with another request."""


class BookingConflict(BookingsError):
    """The trip's state does not allow what was asked; the message says why."""


class UnknownCursor(BookingsError):
    """The cursor is not one of this list."""
