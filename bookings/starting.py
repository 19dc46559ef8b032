"""Starting trips and their cancellations, each once."""

import contextlib
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from bookings.asking import asking_temporal, lacks_attribute
from bookings.errors import BookingDiffers
from bookings.temporal import OWNER_KEY, RPC_TIMEOUT, TripsInTemporal
from bookings.trips import STARTED_AT, Trip, request_in
from saga import STATUS_KEY
from shared import (
    KINDS,
    TASK_QUEUE_NAME,
    BookVacationInput,
    CancelBookingInput,
    SagaPolicy,
    cancellation_id,
)
from workflows import BookingWorkflow, CancelBookingWorkflow


class Starting(TripsInTemporal):
    """Starts the workflows of trips."""

    def __init__(self, client: Client, policy: SagaPolicy) -> None:
        super().__init__(client)
        self._policy = policy
        self._attributes_known = True

    async def start(self, user_id: str, request: dict[str, str], owner: str) -> bool:
        """Start the trip, unless the same one was started already, and tell whether it is new.

        `request` has the name, the attempts, and the car, hotel and flight. Raises
        `BookingDiffers` when the id belongs to another request, `TemporalUnavailable` and
        `TemporalRefuses`.
        """
        with asking_temporal():
            try:
                await self._start(
                    BookingWorkflow, user_id, self._input(user_id, request), request, owner
                )
            except WorkflowAlreadyStartedError:
                description = await self.handle(user_id).describe(rpc_timeout=RPC_TIMEOUT)
                if request_in(await description.memo()) != request:
                    raise BookingDiffers from None
                return False
        return True

    async def start_cancellation(self, trip: Trip) -> None:
        """Start to undo a trip whose own workflow has closed. Doing so again changes nothing."""
        # One that was started already is as good.
        with asking_temporal(), contextlib.suppress(WorkflowAlreadyStartedError):
            await self._start(
                CancelBookingWorkflow,
                cancellation_id(trip.user_id),
                self._cancel_input(trip),
                trip.request,
                trip.owner,
                memo={**trip.request, "owner": trip.owner, STARTED_AT: trip.started_at.isoformat()},
                # Once is enough, but one that was stopped from outside may be started again.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

    def _input(self, user_id: str, request: dict[str, str]) -> BookVacationInput:
        items: dict[str, Any] = {
            f"book_{kind}_id": request[kind] for kind in KINDS if request.get(kind)
        }
        return BookVacationInput(
            attempts=int(request["attempts"] or 1),
            book_user_id=user_id,
            policy=self._policy,
            **items,
        )

    def _cancel_input(self, trip: Trip) -> CancelBookingInput:
        # The steps are known of any trip, the request only of those that the API has started.
        items: dict[str, str] = {step.kind: step.item for step in trip.steps}
        booked = self._input(trip.user_id, {**trip.request, **items})
        return CancelBookingInput(**vars(booked), steps=trip.steps)

    async def _start(
        self,
        workflow: type[BookingWorkflow | CancelBookingWorkflow],
        workflow_id: str,
        book_input: BookVacationInput,
        request: dict[str, str],
        owner: str,
        **policies: Any,
    ) -> None:
        items = " · ".join([request["name"], *(request[kind] for kind in KINDS if kind in request)])
        attributes = TypedSearchAttributes(
            [SearchAttributePair(STATUS_KEY, "running"), SearchAttributePair(OWNER_KEY, owner)]
        )
        arguments: dict[str, Any] = {
            "id": workflow_id,
            "task_queue": TASK_QUEUE_NAME,
            # A trip's id is its own for as long as the namespace retains it.
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
            "memo": {**request, "owner": owner},
            "static_summary": items,
            "rpc_timeout": RPC_TIMEOUT,
            **policies,
        }
        if self._attributes_known:
            try:
                await self._client.start_workflow(
                    workflow.__name__, book_input, search_attributes=attributes, **arguments
                )
            except RPCError as error:
                if not lacks_attribute(error):
                    raise
                # This server lacks the search attributes: trips are booked without them.
                self._attributes_known = False
            else:
                return
        await self._client.start_workflow(workflow.__name__, book_input, **arguments)
