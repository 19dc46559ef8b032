"""Where the tests of the saga play a trip: Temporal, and a record with faults."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from temporalio.client import Client

from bookings import TripWorkflows
from record import RecordedTrip, StepProgress
from shared import KINDS, BookVacationInput, Kind, cancellation_id
from tests.conftest import IMPATIENT, trip
from tests.faults import Fault, FaultyRecord, Gate, Operation, refuse_for_good
from tests.trips import Cancellation, Trip, held, result_of, steps_of, until_stuck
from tests.workers import running_worker

AnyFault = TypeVar("AnyFault", bound=Fault)

LAST = KINDS[-1]

DOOMED: dict[str, Any] = {f"book_{LAST}_id": f"invalid-{LAST}-id"}
"""What a trip asks for that fails at its last step, and is undone."""

ROLLED_BACK = f"Invalid {LAST} booking, rolling back!"

LOSING = replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=60.0)
"""A policy under which a try without heartbeats is lost at once."""


@dataclass(frozen=True)
class Stage:
    """Plays trips whose input is `trip(**changes)`."""

    client: Client
    record: FaultyRecord
    workflows: list[Trip] = field(default_factory=list)
    """Those that it has started."""

    def breaks(self, operation: Operation, kind: Kind, fault: AnyFault) -> AnyFault:
        """Put a fault before the record's calls of one operation and kind."""
        self.record.faults[operation, kind] = fault
        return fault

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[None]:
        async with running_worker(self.client, self.record, **settings):
            yield

    async def start(self, task_timeout: float | None = None, **changes: Any) -> Trip:
        """Start a trip as the API does.

        Without `task_timeout` a lost workflow task is repeated after 10 s.
        """
        wanted = trip(name="John Doe", owner="shop", **changes)
        row = RecordedTrip(
            trip_id=wanted.book_user_id,
            owner=wanted.owner,
            request=wanted.request,
            status="running",
            workflow_id=wanted.book_user_id,
            accepted_at=dt.datetime.now(dt.UTC),
        )
        accepted, _ = await self.record.trips.accept(row)
        await self._workflows(wanted, task_timeout).start(accepted)
        return await self._started(row.workflow_id)

    async def booked(self, **changes: Any) -> Trip:
        booking = await self.start(**changes)
        assert (await result_of(booking))["status"] == "success"
        return booking

    async def at_gate(self, operation: Operation, kind: Kind, **changes: Any) -> tuple[Trip, Gate]:
        """Return a trip that has come to a gate, and the gate."""
        gate = self.breaks(operation, kind, Gate())
        booking = await self.start(**changes)
        await gate.reached()
        return booking, gate

    async def stuck(self, *kinds: Kind, **changes: Any) -> Trip:
        """Return a trip that fails at its last step, and whose undos of these kinds are stuck."""
        for kind in kinds:
            self.breaks("cancel", kind, refuse_for_good)
        booking = await self.start(**DOOMED, **changes)
        await until_stuck(booking, *kinds)
        return booking

    async def cancellation(self, booking: Trip, **changes: Any) -> Cancellation:
        """Have a booked trip cancelled, as the API does."""
        row = await self.record.trips.begin_cancellation(booking.id)
        await self._workflows(trip(**changes)).start_cancellation(row)
        return cast(Cancellation, await self._started(cancellation_id(booking.id)))

    def _workflows(
        self, wanted: BookVacationInput, task_timeout: float | None = None
    ) -> TripWorkflows:
        timeout = None if task_timeout is None else dt.timedelta(seconds=task_timeout)
        start_workflow: Any = self.client.start_workflow
        impatient = SimpleNamespace(start_workflow=partial(start_workflow, task_timeout=timeout))
        return TripWorkflows(cast(Client, impatient), wanted.policy)

    async def _started(self, workflow_id: str) -> Trip:
        execution = await self.client.get_workflow_handle(workflow_id).describe()
        started: Trip = self.client.get_workflow_handle(
            workflow_id, first_execution_run_id=execution.run_id
        )
        self.workflows.append(started)
        return started

    async def row(self, booking: Trip) -> RecordedTrip:
        row = await self.record.trips.by_id(booking.id)
        assert row is not None
        return row

    async def steps(self, booking: Trip) -> dict[Kind, StepProgress]:
        return await steps_of(self.record, booking)

    async def held(self, booking: Trip) -> list[Kind]:
        return await held(self.record, booking)


async def cut_off(interval: float) -> None:
    """Heartbeat never, so that a try that takes its time is lost, though it goes on."""
