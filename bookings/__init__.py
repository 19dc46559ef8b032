"""What the API asks: start a trip, wait for it, look it up, list, cancel, repair.

It knows nothing of HTTP. When Temporal cannot be asked, it raises `TemporalUnavailable` if that
mends itself, and `TemporalRefuses` if somebody has to change something.
"""

from bookings.booking import Booking
from bookings.callers import Caller
from bookings.changing import Changing
from bookings.errors import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    CannotFilter,
    TemporalRefuses,
    TemporalUnavailable,
    UnknownCursor,
)
from bookings.listing import Listing
from bookings.readiness import Readiness
from bookings.temporal import OWNER_KEY
from bookings.trips import Outcome, Trip

__all__ = [
    "OWNER_KEY",
    "BookingConflict",
    "BookingDiffers",
    "BookingNotFound",
    "Bookings",
    "BookingsError",
    "Caller",
    "CannotFilter",
    "Outcome",
    "TemporalRefuses",
    "TemporalUnavailable",
    "Trip",
    "UnknownCursor",
]


class Bookings(Booking, Changing, Listing, Readiness):
    """The bookings, as one Temporal client sees them. Each base does one job."""
