"""What is asked of the record and of Temporal: start, wait, look up, list, cancel, repair.

It knows nothing of HTTP. When Temporal cannot be asked, it raises `TemporalUnavailable` if that
mends itself, and `TemporalRefuses` if somebody has to change something. The record's errors, and
`UnreadablePayload`, pass through as they are.
"""

from bookings.bookings import Bookings
from bookings.errors import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    BookingsError,
    EventNotFound,
    NoWorker,
    TemporalRefuses,
    TemporalUnavailable,
    UnknownCursor,
)
from bookings.settling import Settling
from bookings.temporal import TripWorkflows
from bookings.trips import (
    NEVER_STARTED,
    STOPPED,
    Caller,
    acting_workflow,
    has_outcome,
    may_be_id,
    was_cancelled_later,
)
from connection import UnreadablePayload
from record import Event, RecordedTrip, RecordError, RecordUnavailable, StepProgress
