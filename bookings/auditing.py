"""The audit: compares what the record says of open trips with Temporal, and mends what differs.

It finds trips that were stopped or deleted from outside, accepted but never started, or whose
cancellation was asked for and never begun; and workflows that the record knows nothing of.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from temporalio.client import WorkflowExecutionStatus

from bookings.asking import asking_temporal
from bookings.errors import BookingNotFound, BookingsError
from bookings.looking_up import STATUS_OF_RESULT
from bookings.starting import Starting
from bookings.temporal import RPC_TIMEOUT
from bookings.trips import Trip, acting_workflow, may_be_id
from record import RecordedTrip, RecordError, RecordUnavailable
from shared import SagaPolicy, TripStatus, cancelled_trip
from workflows import BookingWorkflow, CancelBookingWorkflow

logger = logging.getLogger(__name__)

INTERVAL = 20.0
"""Seconds between two audits of a process that serves; what they find is to be listed in a minute.
"""

SETTLED = dt.timedelta(seconds=10)
"""A trip younger than this may still be on its way from the one memory to the other."""

BATCH = 500
AT_ONCE = 10

Standing = TripStatus | Literal["stopped"] | None
"""How the workflow that acts on a trip stands: it is running, has ended so, or was stopped from
outside; `None`: Temporal does not know it, or not any more."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Finding:
    """What the audit has found out about a trip."""

    user_id: str
    was: str
    now: str
    reason: str | None = field(default=None, compare=False)


class Auditing(Starting):
    """Audits the open trips."""

    async def audit(self) -> list[Finding]:
        """Compare, mend, and return what differed.

        Raises `TemporalUnavailable`, `TemporalRefuses` and `RecordError`.
        """
        before = dt.datetime.now(dt.UTC) - SETTLED
        running = await self._running_workflows()
        findings = []
        last = ""
        while rows := await self._record.open_trips(before, last, BATCH):
            last = rows[-1].trip_id
            findings += await self._settle(
                [row for row in rows if acting_workflow(row) not in running]
            )
        return findings + await self._adopt(running)

    async def standing(self, row: RecordedTrip) -> Standing:
        """Return how the workflow stands that acts on a trip. Raises as `audit` does."""
        try:
            with asking_temporal():
                description = await self.acting(row)
                match description and description.status:
                    case None:
                        return None
                    case WorkflowExecutionStatus.RUNNING:
                        return "running"
                    case WorkflowExecutionStatus.CANCELED:
                        return "cancelled"
                    case WorkflowExecutionStatus.COMPLETED:
                        handle = self.handle(acting_workflow(row))
                        result = await handle.result(rpc_timeout=RPC_TIMEOUT)
                        return STATUS_OF_RESULT[result["status"]]
        except BookingNotFound:
            return None  # It was forgotten between the two questions.
        return "stopped"

    async def policy_of(self, row: RecordedTrip) -> SagaPolicy | None:
        """Return the policy that the trip's workflow was started with, if Temporal knows it.

        Raises as `audit` does.
        """
        try:
            with asking_temporal():
                _, book_input = await self._history(acting_workflow(row))
        except BookingNotFound:
            return None
        return None if book_input is None else book_input.policy

    async def audit_for_ever(self) -> None:
        """Audit at intervals. What cannot be asked now is asked the next time."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                for finding in await self.audit():
                    logger.warning(
                        "Audit: trip %s was %s and is %s",
                        finding.user_id,
                        finding.was,
                        finding.now,
                        extra={"trip_id": finding.user_id},
                    )
            except (BookingsError, RecordError) as error:
                logger.warning("No audit: %s", error)
            except Exception:
                logger.exception("The audit failed")

    async def _running_workflows(self) -> set[str]:
        types = f"'{BookingWorkflow.__name__}', '{CancelBookingWorkflow.__name__}'"
        with asking_temporal():
            listed = self._client.list_workflows(
                f"WorkflowType IN ({types}) AND ExecutionStatus = 'Running'",
                page_size=1_000,
                rpc_timeout=RPC_TIMEOUT,
            )
            return {execution.id async for execution in listed}

    async def _settle(self, rows: list[RecordedTrip]) -> list[Finding]:
        """Look the trips up, which tells the record; and begin cancellations that were not."""
        findings = []
        for batch in (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)):
            trips = await asyncio.gather(
                *(_unless_odd(row.trip_id, self._settled(row)) for row in batch)
            )
            pairs = zip(batch, trips, strict=True)
            found = [await self._found(row) for row, trip in pairs if trip is not None]
            findings += [finding for finding in found if finding is not None]
        return findings

    async def _found(self, row: RecordedTrip) -> Finding | None:
        """Return what the record was told of a trip; `None`: nothing, or the workflow told it."""
        now = await self._record.trip(row.trip_id)
        if now is None or now.closed_at is None or now.closed_at == now.told_at:
            return None
        return Finding(row.trip_id, row.status, now.status, now.reason)

    async def _settled(self, row: RecordedTrip) -> Trip:
        trip = await self.as_it_stands(row)
        if row.cancelled_at is not None and trip.closed_at is None:
            await self.start_cancellation(row)
        return trip

    async def _adopt(self, running: set[str]) -> list[Finding]:
        """Record the trips that were started by other means, and that no worker has taken up."""
        bookings = {
            workflow_id
            for workflow_id in running
            if may_be_id(workflow_id) and not cancelled_trip(workflow_id)
        }
        missing = await self._record.missing(bookings)
        adopted = [
            await _unless_odd(workflow_id, self._unknown(workflow_id)) for workflow_id in missing
        ]
        return [Finding(row.trip_id, "unknown", row.status) for row in adopted if row is not None]

    async def _unknown(self, workflow_id: str) -> RecordedTrip | None:
        """Record the trip of a workflow, and return its row; `None`: it was recorded already.

        A workflow that somebody has started may have another id than its trip.
        """
        trip = await self.as_temporal_knows(workflow_id)
        if trip is None or await self._record.trip(trip.trip_id):
            return None
        return await self._record.adopt(trip)


async def _unless_odd(workflow_id: str, question: Awaitable[Answer]) -> Answer | None:
    """Return the answer about one trip; `None` when that trip alone is the matter, and log it.

    One that somebody has started with an input of any kind keeps the audit from no other. Raises
    what concerns them all.
    """
    try:
        return await question
    except (BookingsError, RecordUnavailable):
        raise
    except Exception:
        trip_id = cancelled_trip(workflow_id) or workflow_id
        logger.exception(
            "Audit: nothing can be made of %s", workflow_id, extra={"trip_id": trip_id}
        )
        return None
