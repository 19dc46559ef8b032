"""Mends what is certain, and marks the rest for people.

It is certain that nothing may be held for a trip which was rolled back or cancelled. A trip is
marked only if it has not changed since it was compared. To mend it twice does no harm.
"""

import asyncio
import logging
from collections.abc import Sequence

from audit.comparing import Known, Suspicion
from audit.differences import ATTENTION, Difference
from bookings import TripWorkflows
from record import Record
from shared import BookVacationInput, Kind, cut
from suppliers import Desk, Desks, Refused, SupplierError, Try

logger = logging.getLogger(__name__)

BEGUN = "its cancellation goes on with the next audit"


class Mending:
    """Mends and marks trips."""

    def __init__(self, workflows: TripWorkflows, record: Record, desks: Desks) -> None:
        self._workflows = workflows
        self._record = record
        self._desks = desks

    async def mend(
        self, known: Known, suspicions: Sequence[Suspicion]
    ) -> tuple[list[Difference], bool]:
        """Do what may be done; return what is to be said, and whether to look again next time."""
        said: list[Difference] = []
        to_mark: list[tuple[Suspicion, str]] = []
        again = False
        for each in suspicions:
            done, refusal = None, None
            if each.step is not None and each.remedy in ("cancel", "cancel late booking"):
                again = True
                done, refusal = await self._cancel(known, each, each.step)
            if each.remedy == "mark" or refusal:
                to_mark.append((each, f"{each.found}{refusal or ''}"))
            else:
                said.append(self._of(known, each, each.found, done))
        return [*said, *await self._mark(known, to_mark)], again

    async def _cancel(
        self, known: Known, suspicion: Suspicion, kind: Kind
    ) -> tuple[str | None, str | None]:
        """Cancel what is held; return what was done, and the supplier's words if it refuses."""
        trip = self._workflows.input_of(known.row)
        told = {"trip_id": trip.book_user_id}
        try:
            async with asyncio.timeout(trip.policy.try_timeout):
                await _release(self._desks[kind], trip, late=suspicion.remedy != "cancel")
        except Refused as refused:
            return None, f", and that cannot be cancelled: {refused}"
        except (SupplierError, TimeoutError) as error:
            logger.warning("The %s is not cancelled yet: %s", kind, error, extra=told)
            return BEGUN, None
        except Exception:
            # A supplier's own class may raise anything; its text may hold an address.
            logger.exception("The %s supplier failed", kind, extra=told)
            return BEGUN, None
        return "that is cancelled now", None

    async def _mark(
        self, known: Known, to_mark: Sequence[tuple[Suspicion, str]]
    ) -> list[Difference]:
        if not to_mark:
            return []
        reason = "; ".join(dict.fromkeys(f"The trip {text}" for _, text in to_mark))
        if not await self._record.trips.mark(known.row, cut(reason)):
            return []  # It has changed, so the next audit compares it again.
        return [self._of(known, each, text, ATTENTION) for each, text in to_mark]

    def _of(self, known: Known, suspicion: Suspicion, found: str, done: str | None) -> Difference:
        return Difference(known.row.trip_id, suspicion.kind, found, done)


async def _release(desk: Desk, trip: BookVacationInput, *, late: bool) -> None:
    if late:
        await desk.cancel_late_booking(trip)
    else:
        await desk.cancel(trip, Try())
