"""Mends what is certain, and marks the rest for people.

It is certain that nothing may be held for a trip which was rolled back or cancelled. A trip is
marked only if it has not changed since it was compared. To mend it twice does no harm.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from audit.comparing import Look
from audit.differences import ATTENTION, Difference
from bookings import TripWorkflows
from record import Record, RecordedTrip
from shared import Kind, cut
from suppliers import Desks, EmbeddedSupplier, OutsideDesk, Refused, SupplierError, Try

logger = logging.getLogger(__name__)

BEGUN = "its cancellation goes on with the next audit"


class Mending:
    """Mends and marks trips."""

    def __init__(self, workflows: TripWorkflows, record: Record, desks: Desks) -> None:
        self._workflows = workflows
        self._record = record
        self._desks = desks

    async def mend(self, look: Look) -> tuple[list[Difference], bool]:
        """Do what may be done; return what is to be said, and whether to look again next time."""
        said: list[Difference] = []
        to_mark: list[Difference] = []
        again = False
        for found in look.differences:
            each = found
            if found.step is not None and found.remedy in ("cancel", "cancel late booking"):
                again = True
                each = await self._cancel(look.row, found, found.step)
            (to_mark if each.remedy == "mark" else said).append(each)
        return [*said, *await self._mark(look.row, to_mark)], again

    async def _cancel(self, row: RecordedTrip, found: Difference, kind: Kind) -> Difference:
        """Cancel what is held. What its supplier refuses to cancel is to be marked."""
        # What is held of a kind that there is no more, the record holds itself.
        desk = self._desks.get(kind) or EmbeddedSupplier(kind, self._record)
        trip = self._workflows.input_of(row)
        told = {"trip_id": row.trip_id}
        try:
            async with asyncio.timeout(trip.policy.try_timeout):
                if found.remedy == "cancel late booking" and isinstance(desk, OutsideDesk):
                    await desk.cancel_late_booking(trip)
                else:
                    await desk.cancel(trip, Try())
        except Refused as refused:
            words = f"{found.found}, and that cannot be cancelled: {refused}"
            return replace(found, found=words, remedy="mark")
        except (SupplierError, TimeoutError) as error:
            logger.warning("The %s is not cancelled yet: %s", kind, error, extra=told)
            return replace(found, done=BEGUN)
        except Exception:
            # A supplier's own class may raise anything; its text may hold an address.
            logger.exception("The %s supplier failed", kind, extra=told)
            return replace(found, done=BEGUN)
        return replace(found, done="that is cancelled now")

    async def _mark(self, row: RecordedTrip, to_mark: Sequence[Difference]) -> list[Difference]:
        if not to_mark:
            return []
        reason = "; ".join(dict.fromkeys(f"The trip {each.found}" for each in to_mark))
        if not await self._record.trips.mark(row, cut(reason)):
            return []  # It has changed, so the next audit compares it again.
        return [replace(each, done=ATTENTION) for each in to_mark]
