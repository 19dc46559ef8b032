"""Whether trips can be booked at all."""

from bookings.asking import asking_temporal
from bookings.errors import TemporalRefuses, TemporalUnavailable
from bookings.temporal import TripsInTemporal
from connection import recent_pollers
from record import RecordError
from shared import TASK_QUEUE_NAME


class Readiness(TripsInTemporal):
    """Tells whether trips can be booked."""

    async def check_ready(self) -> str | None:
        """Return what keeps trips from being booked, or `None` when nothing does."""
        try:
            # First: a worker whose record is not there does not poll.
            await self._record.prepare()
            with asking_temporal():
                pollers = await recent_pollers(self._client)
        except TemporalUnavailable:
            return "Temporal cannot be reached"
        except (TemporalRefuses, RecordError) as error:
            return str(error)
        if not pollers:
            return f"No worker is polling the task queue {TASK_QUEUE_NAME}"
        return None
