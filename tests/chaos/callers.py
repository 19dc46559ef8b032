"""The callers of chaos, who repeat and cancel, and Temporal's retention, which forgets.

Retention is played by deleting closed workflows.
"""

import asyncio
import contextlib
import random
import time
from collections import defaultdict

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError

from shared import cancelled_trip
from tests.chaos.asking import PATIENCE, SETTLED_WITHIN, Asking, persistently
from tests.chaos.plans import PlannedTrip

FORGOTTEN_WITHIN = 60.0
"""Seconds after which a deleted workflow must be gone, faults left aside."""


class Callers:
    """Who books and cancels the planned trips of one service, and what makes Temporal forget."""

    def __init__(self, trips: Asking) -> None:
        self._asking = trips
        self._deleted: set[str] = set()
        """The workflows that Temporal was asked to delete."""
        self._gone = asyncio.Event()
        self._turns: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def let_come(self, fault: int) -> None:
        """Let those come who are to come before a fault, by its number."""
        self._turns[fault].set()

    async def call(self, trip: PlannedTrip) -> None:
        """Ask for a trip until there is an answer, and cancel it if so planned."""
        await self._turns[trip.comes_before].wait()
        await asyncio.sleep(trip.asks_after)
        headers = trip.headers
        if trip.cancel.startswith(("under way", "in doubt")):
            headers |= {"Prefer": "respond-async"}
        answer = await self._asking.insist("POST", "/book", trip.body, headers)
        if answer.status not in (200, 202):
            return  # The violation is noted; the audit tells what became of the trip.
        user_id = answer.body["user_id"]
        self._asking.trips[user_id] = trip
        self._asking.note_outcome(user_id, answer)
        if trip.hold == "confirmed":
            await self._confirm(user_id)
        if trip.cancel == "never":
            return
        if trip.cancel.startswith("once") and await self._outcome(user_id) != "booked":
            return
        if trip.cancel == "in doubt":
            await self._failure(user_id)
        if trip.cancel == "once forgotten":
            # A server under load may take longer to forget; the trip is cancelled all the same.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLED_WITHIN):
                    while user_id not in self._asking.forgotten:
                        await asyncio.sleep(PATIENCE)
        await asyncio.sleep(trip.cancel_after)
        if trip.cancel == "under way, by Temporal":
            with contextlib.suppress(RPCError):  # It has ended already.
                await persistently(self._asking.client.get_workflow_handle(user_id).cancel)
            return
        await self._asking.insist("POST", f"/bookings/{user_id}/cancel")
        self._asking.cancelled.add(user_id)

    async def _outcome(self, user_id: str) -> str:
        """Wait until the API calls the trip closed and return its status.

        `unknown`: it does not tell, which is noted as a violation.
        """
        while True:
            answer = await self._asking.insist("GET", f"/bookings/{user_id}?wait=5")
            if answer.status != 200:
                return "unknown"
            if answer.body["closed_at"] is not None:
                return str(answer.body["status"])

    async def _confirm(self, user_id: str) -> None:
        """Wait until a trip is held, and confirm it, twice."""
        while True:
            told = (await self._asking.insist("GET", f"/bookings/{user_id}")).body
            if told.get("closed_at") or told.get("status") == "held":
                break
            await asyncio.sleep(PATIENCE)
        for _ in range(2):
            answer = await self._asking.insist("POST", f"/bookings/{user_id}/confirm")
            self._asking.note_confirm(user_id, answer)

    async def _failure(self, user_id: str) -> None:
        """Wait until the API tells of a call that has failed, or calls the trip closed."""
        while True:
            told = (await self._asking.insist("GET", f"/bookings/{user_id}")).body
            if told.get("closed_at") or any(step["last_error"] for step in told.get("steps") or []):
                return
            await asyncio.sleep(PATIENCE / 3)

    # Retention

    async def forget(self) -> None:
        """Have Temporal forget the workflows that are to be forgotten, until no caller is left."""
        async with asyncio.TaskGroup() as tasks:
            while not self._gone.is_set():
                for workflow_id in await self._asking.closed_workflows():
                    if workflow_id not in self._deleted and self._is_to_be_forgotten(workflow_id):
                        self._deleted.add(workflow_id)
                        tasks.create_task(self._forget(workflow_id))
                await asyncio.sleep(PATIENCE)

    def are_gone(self) -> None:
        """Note that nobody waits for anything to be forgotten any more."""
        self._gone.set()

    def _is_to_be_forgotten(self, workflow_id: str) -> bool:
        cancelled = cancelled_trip(workflow_id)
        trip = self._asking.trips.get(cancelled or workflow_id)
        if trip is None:
            return False
        # Of each trip either the one, or the other, or both, or none is forgotten.
        if cancelled:
            return random.Random(workflow_id).random() < 0.5
        return trip.forgotten or trip.cancel == "once forgotten"

    async def _forget(self, workflow_id: str) -> None:
        """Delete a closed workflow, and use its trip's key again once it is gone.

        A server that was killed under load may never get to it; then the workflow stays.
        """
        ending = await self._asking.ending(workflow_id)
        if ending is None:
            self._asking.violate("lost", workflow_id, "is gone from Temporal by itself")
            return
        self._asking.noted[workflow_id] = ending
        await self._delete(workflow_id)
        end = time.monotonic() + FORGOTTEN_WITHIN
        last = time.monotonic() + SETTLED_WITHIN
        while await self._asking.describe(workflow_id) is not None:
            if time.monotonic() > last:
                return
            if time.monotonic() > end:  # Temporal went down in the middle of it, say.
                await self._delete(workflow_id)
                end = time.monotonic() + FORGOTTEN_WITHIN
            await asyncio.sleep(PATIENCE)
        self._asking.forgotten[workflow_id] = ending
        await self._asking.use_key_again(cancelled_trip(workflow_id) or workflow_id)

    async def _delete(self, workflow_id: str) -> None:
        request = DeleteWorkflowExecutionRequest(
            namespace=self._asking.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )

        async def delete() -> None:
            await self._asking.client.workflow_service.delete_workflow_execution(request)

        with contextlib.suppress(RPCError):  # It is gone already.
            await persistently(delete)
