"""Trips in Temporal: their handles, and what their executions tell."""

import asyncio
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
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

LONG_POLL_TIMEOUT = timedelta(seconds=70)
"""A long poll is answered after 20 seconds at the latest, even if nothing has happened."""

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

    async def closing(self, workflow_id: str) -> None:
        """Return once a workflow has closed. It holds a long poll at Temporal meanwhile.

        Raises `RPCError` at the first failure: the SDK, which waits for a result likewise, would
        ask again and again where Temporal has no long poll to spare.
        """
        question = GetWorkflowExecutionHistoryRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id),
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            skip_archival=True,
        )
        while True:
            answer = await self._client.workflow_service.get_workflow_execution_history(
                question, timeout=LONG_POLL_TIMEOUT
            )
            if answer.history.events:
                return
            question.next_page_token = answer.next_page_token

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
