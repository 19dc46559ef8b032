"""Whether trips can be booked at all."""

from bookings.asking import asking_temporal
from bookings.errors import TemporalRefuses, TemporalUnavailable
from bookings.temporal import TripsInTemporal
from connection import nobody_takes_trips
from record import RecordError


class Readiness(TripsInTemporal):
    """Tells whether trips can be booked."""

    async def check_ready(self) -> str | None:
        """Return what keeps trips from being booked, or `None` when nothing does."""
        try:
            # First: a worker whose record is not there does not poll.
            await self._record.prepare()
            with asking_temporal():
                return await nobody_takes_trips(self._client)
        except TemporalUnavailable:
            return "Temporal cannot be reached"
        except (TemporalRefuses, RecordError) as error:
            return str(error)
