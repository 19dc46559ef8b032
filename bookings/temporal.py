"""Trips in Temporal: their handles, and what their executions tell."""

import asyncio
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from bookings.asking import is_missing_workflow
from record import Record
from shared import BookingResult, TripProgress
from workflows import BookingWorkflow

RPC_TIMEOUT = timedelta(seconds=5)
QUERY_TIMEOUT = timedelta(seconds=2)
"""Only a worker can answer a query, and there may be none."""

TripHandle = WorkflowHandle[BookingWorkflow, BookingResult]


class TripsInTemporal:
    """The trips' workflows, as one Temporal client sees them, beside their record."""

    def __init__(self, client: Client, record: Record) -> None:
        self._client = client
        self._record = record

    def handle(self, workflow_id: str, first_run_id: str | None = None) -> TripHandle:
        """Return the handle of a trip's workflow, or of its cancellation's.

        A cancellation's queries, updates and result are those of the booking itself. A cancel
        reaches only the execution of that first run, if one is named.
        """
        return self._client.get_workflow_handle_for(
            BookingWorkflow.run, workflow_id, first_execution_run_id=first_run_id
        )

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
