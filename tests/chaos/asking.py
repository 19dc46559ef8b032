"""How chaos asks the API and Temporal about trips: until they answer, whatever befalls them."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from tests.chaos.plans import PlannedTrip
from tests.processes import Answer, Service

logger = logging.getLogger("chaos")

Result = TypeVar("Result")

PATIENCE = 0.3
"""Seconds that a caller waits before repeating a request that got no answer."""

SETTLED_WITHIN = 180.0
"""Seconds after the last fault by which every trip must have ended."""

Violation = Literal[
    "lost",
    "half-booked",
    "double-booked",
    "disagreeing",
    "held twice",
    "left at the supplier",
    "oversold",
    "untold",
    "other",
]

TRIPS = "WorkflowType IN ('BookingWorkflow', 'CancelBookingWorkflow')"
"""The audits have workflows of their own."""

STATUS_OF = {
    "success": "booked",
    "failure": "rolled_back",
    "expired": "expired",
    "cancelled": "cancelled",
}
"""The API's word for what a workflow's result says."""


@dataclass(frozen=True)
class Ending:
    """How a workflow has ended, as Temporal says. `status` is in the API's words."""

    workflow_id: str
    run_id: str
    status: str
    began: dt.datetime
    closed: dt.datetime


class Asking:
    """One service and its trips, what was heard of them, and what was wrong."""

    def __init__(self, running: Service, client: Client, trips: Iterable[PlannedTrip]) -> None:
        self.service = running
        self.client = client
        self.planned = list(trips)
        self.trips: dict[str, PlannedTrip] = {}
        """The trips by their ids, once their callers were told these."""
        self.outcomes: dict[str, bool] = {}
        """Whether a trip was booked, as its key's answers tell."""
        self.cancelled: set[str] = set()
        """The trips that the API has agreed to cancel."""
        self.confirmed: dict[str, bool] = {}
        """Whether the API has agreed to confirm a trip that was held."""
        self.forgotten: dict[str, Ending] = {}
        """How the workflows ended that Temporal has forgotten, by their ids."""
        self.noted: dict[str, Ending] = {}
        """How the workflows ended that Temporal was asked to forget. A server under load may do so
        minutes later."""
        self.violations: list[tuple[Violation, str, str]] = []
        """What, of which trip or process, and the details."""

    def violate(self, violation: Violation, subject: str, details: str) -> None:
        """Note a violation."""
        logger.error("%s: %s %s", violation, subject, details)
        self.violations.append((violation, subject, details))

    # The API

    async def insist(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        accepted: Iterable[int] = (200, 202, 409),
    ) -> Answer:
        """Repeat a request until it is answered, as a good client does.

        409 is the answer to the cancellation of what was rolled back anyway. An answer that is
        neither accepted nor an outage is a violation, and returned. Raises `TimeoutError` when the
        outage does not end.
        """
        end = time.monotonic() + SETTLED_WITHIN
        while time.monotonic() < end:
            try:
                answer = await asyncio.to_thread(self.service.request, method, path, body, headers)
            except OSError:
                pass  # The API is away, or went in the middle.
            else:
                if answer.status not in (429, 503):
                    if answer.status not in accepted:
                        self.violate("other", f"{method} {path}", f"was answered {answer}")
                    return answer
            await asyncio.sleep(PATIENCE)
        raise TimeoutError(f"{method} {path} is not answered")

    async def use_key_again(self, trip_id: str) -> None:
        """Send the request of a trip that has ended once more, and another one under its key.

        The answer tells how the booking went, also when it was cancelled later, and never changes.
        """
        trip = self.trips[trip_id]
        again = await self.insist("POST", "/book", trip.body, trip.headers)
        if again.status != 200 or again.body["user_id"] != trip_id:
            self.violate("disagreeing", trip_id, f"has ended; its key leads to {again}")
        self.note_outcome(trip_id, again)
        await self.insist("POST", "/book", trip.other_body, trip.headers, accepted=[422])

    def note_outcome(self, trip_id: str, answer: Answer) -> None:
        """Compare what a key leads to with what it led to before."""
        if answer.status != 200 or "cancelled" not in answer.body:
            return  # It goes on, or is held.
        booked = not answer.body["cancelled"]
        if self.outcomes.setdefault(trip_id, booked) != booked:
            self.violate("disagreeing", trip_id, f"had another outcome before: {answer}")

    def note_confirm(self, trip_id: str, answer: Answer) -> None:
        """Compare the answer to a confirm with what was answered before."""
        agreed = answer.status in (200, 202)
        if self.confirmed.setdefault(trip_id, agreed) != agreed:
            self.violate("disagreeing", trip_id, f"had another answer to its confirm: {answer}")
        self.note_outcome(trip_id, answer)

    # Temporal

    async def ending(self, workflow_id: str) -> Ending | None:
        """Return how a workflow ended, also if Temporal was made to forget it; `None`: it has none.

        One that still runs has no ending, either.
        """
        if workflow_id in self.forgotten:
            return self.forgotten[workflow_id]
        description = await self.describe(workflow_id)
        if description is None:
            return self.noted.get(workflow_id)
        match description.status:
            case WorkflowExecutionStatus.COMPLETED:
                result = self.client.get_workflow_handle(workflow_id).result
                try:
                    status = STATUS_OF[(await persistently(result))["status"]]
                except RPCError:  # It is being forgotten at this moment.
                    return self.noted.get(workflow_id)
            case WorkflowExecutionStatus.CANCELED:
                status = "cancelled"
            case unexpected:
                status = str(unexpected)
        began, closed = description.start_time, description.close_time
        if closed is None:
            return None
        return Ending(workflow_id, description.run_id, status, began, closed)

    async def describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        """Return what Temporal knows of a workflow; `None`: nothing."""
        try:
            return await persistently(self.client.get_workflow_handle(workflow_id).describe)
        except RPCError:
            return None

    async def closed_workflows(self, since: dt.datetime | None = None) -> list[str]:
        """Return the ids of the workflows that Temporal lists as closed."""
        after = f" AND CloseTime > '{since.isoformat()}'" if since else ""
        return await self.list_ids(f"ExecutionStatus != 'Running'{after}")

    async def list_ids(self, query: str) -> list[str]:
        """Return the ids of the trips' workflows that Temporal lists."""
        of_trips = f"{TRIPS} AND {query}" if query else TRIPS

        async def found() -> list[str]:
            return [execution.id async for execution in self.client.list_workflows(of_trips)]

        return await persistently(found)


async def persistently(ask: Callable[[], Awaitable[Result]]) -> Result:
    """Ask Temporal until it answers. Raises `RPCError` when there is no such open workflow."""
    while True:
        try:
            return await ask()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(PATIENCE)
