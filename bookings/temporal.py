"""Trips in Temporal: their handles, and what their executions tell."""

import asyncio
from datetime import timedelta
from typing import cast

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from bookings.asking import is_missing_workflow
from bookings.trips import STATUS_OF_RESULT, Trip, request_in, started_at
from saga import STATUS_KEY
from shared import (
    BOOKING_OWNER_ATTRIBUTE,
    BookingResult,
    TripProgress,
    TripStatus,
    cancelled_trip,
)
from workflows import BookingWorkflow

RPC_TIMEOUT = timedelta(seconds=5)
QUERY_TIMEOUT = timedelta(seconds=2)
"""Only a worker can answer a query, and there may be none."""

TripHandle = WorkflowHandle[BookingWorkflow, BookingResult]

OWNER_KEY = SearchAttributeKey.for_keyword(BOOKING_OWNER_ATTRIBUTE)


class TripsInTemporal:
    """The trips' workflows, as one Temporal client sees them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def handle(self, workflow_id: str) -> TripHandle:
        """Return the handle of a trip's workflow, or of its cancellation's.

        A cancellation's queries, updates and result are those of the booking itself.
        """
        return self._client.get_workflow_handle_for(BookingWorkflow.run, workflow_id)

    async def describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        """Return what Temporal tells of a workflow, `None` when it knows none of this id."""
        try:
            return await self.handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            # An id that Temporal calls invalid (too long, say) is no trip's id.
            if is_missing_workflow(error) or error.status == RPCStatusCode.INVALID_ARGUMENT:
                return None
            raise

    async def progress(self, workflow_id: str) -> TripProgress | None:
        """Return what a workflow, open or closed, says of itself; `None`: no worker answers."""
        try:
            # A client may repeat what has timed out; here that would only be waiting.
            async with asyncio.timeout(QUERY_TIMEOUT.total_seconds()):
                return await self.handle(workflow_id).query(
                    BookingWorkflow.progress, rpc_timeout=QUERY_TIMEOUT
                )
        except (TimeoutError, RPCError, WorkflowQueryFailedError):
            return None

    async def status(self, description: WorkflowExecutionDescription) -> TripStatus:
        """Return the status of the trip of a workflow."""
        trip = await self.row(description)
        shown = description.typed_search_attributes.get(STATUS_KEY)
        if trip.closed_at is not None or shown is not None:
            return trip.status
        progress = await self.progress(description.id)
        return progress.status if progress else trip.status

    async def row(self, execution: WorkflowExecution) -> Trip:
        """Return what the workflow's execution alone tells of its trip."""
        status = execution.typed_search_attributes.get(STATUS_KEY)
        match execution.status:
            case WorkflowExecutionStatus.RUNNING:
                status = status or "running"
            case WorkflowExecutionStatus.CANCELED:
                status = "cancelled"
            case WorkflowExecutionStatus.COMPLETED:
                if status is None:
                    result = await self.handle(execution.id).result(rpc_timeout=RPC_TIMEOUT)
                    status = STATUS_OF_RESULT[result["status"]]
            case _:
                status = "needs_attention"
        memo = await execution.memo()
        return Trip(
            user_id=cancelled_trip(execution.id) or execution.id,
            workflow_id=execution.id,
            run_id=execution.run_id,
            owner=str(memo.get("owner", "")),
            status=cast(TripStatus, status),
            request=request_in(memo),
            started_at=started_at(memo) or execution.start_time,
            closed_at=execution.close_time,
            steps=[],
        )
