"""What the API asks: start a trip, wait for it, look it up, watch, list, cancel, repair, audit.

It knows nothing of HTTP. When Temporal cannot be asked, it raises `TemporalUnavailable` if that
mends itself, and `TemporalRefuses` if somebody has to change something; the record's errors, and
`UnreadablePayload`, pass through as they are.
"""

from bookings.auditing import Auditing, Finding, Standing
from bookings.booking import Booking
from bookings.callers import Caller
from bookings.changing import Changing
from bookings.errors import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    NoWorker,
    TemporalRefuses,
    TemporalUnavailable,
    UnknownCursor,
)
from bookings.listing import Listing
from bookings.readiness import Readiness
from bookings.trips import NEVER_STARTED, Trip, steps_of
from bookings.watching import Sight, Watching, mark_of
from connection import UnreadablePayload
from record import RecordError, RecordUnavailable

__all__ = [
    "NEVER_STARTED",
    "BookingConflict",
    "BookingDiffers",
    "BookingNotFound",
    "Bookings",
    "BookingsError",
    "Caller",
    "Finding",
    "NoWorker",
    "RecordError",
    "RecordUnavailable",
    "Sight",
    "Standing",
    "TemporalRefuses",
    "TemporalUnavailable",
    "Trip",
    "UnknownCursor",
    "UnreadablePayload",
    "mark_of",
    "steps_of",
]


class Bookings(Booking, Changing, Auditing, Listing, Watching, Readiness):
    """The bookings, as one Temporal client and the record see them. Each base does one job."""
