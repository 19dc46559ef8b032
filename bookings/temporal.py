"""Trips in Temporal: their handles, what their executions tell, and how a call can fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from bookings.errors import TemporalUnavailable
from bookings.trips import STATUS_OF_RESULT, Trip, request_in, started_at
from saga import STATUS_KEY
from shared import BOOKING_OWNER_ATTRIBUTE, BookingResult, TripStatus, cancelled_trip
from workflows import BookingWorkflow

RPC_TIMEOUT = timedelta(seconds=5)

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
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                return None
            raise

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


@contextmanager
def asking_temporal() -> Iterator[None]:
    """Translate the failure of a call to Temporal, whatever its form."""
    try:
        yield
    except RPCError as error:
        raise TemporalUnavailable(error.message) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise TemporalUnavailable("No worker took the request") from error
    except RuntimeError as error:
        if not _could_not_connect(error):
            raise
        raise TemporalUnavailable(str(error)) from error


def lacks_attribute(error: RPCError) -> bool:
    """Tell whether a call failed because the server lacks a search attribute."""
    return error.status == RPCStatusCode.INVALID_ARGUMENT and "attribute" in error.message


def _could_not_connect(error: RuntimeError) -> bool:
    # This is how a lazy client fails on its first call; the SDK has no type of its own for it.
    return str(error).startswith("Failed client connect")
