"""Faults from outside the product: a reservation record whose calls a test scripts.

The activities and workflows know nothing of it. A fault stands between an activity and the real
record: it may refuse, wait, write late or lose the answer of a write.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import activities
import run_worker
from record import Database, Record, RecordUnavailable, Reservations, Trips
from shared import KINDS, TASK_QUEUE_NAME, BookVacationInput, HeldTrip, Kind, TripNews
from suppliers import Refused, Unavailable
from tests.workers import running_worker

Operation = Literal["reserve", "cancel", "tell"]

DEADLINE = 30.0
"""Seconds after which a condition that a test waits for counts as never met."""


@dataclass(frozen=True)
class Call:
    """One call of the record, not yet carried out; `write` carries it out."""

    trip_id: str
    operation: Operation
    kind: Kind
    number: int
    """1 for the trip's first call of this operation and kind."""
    write: Callable[[], Awaitable[None]]


Fault = Callable[[Call], Awaitable[None]]


class FaultyRecord(Record):
    """The real record behind the faults that a test puts in its way."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.database)
        self.reservations = _FaultyReservations(record.database, self)
        self.trips = _FaultyTrips(record.database, self)
        self._calls: Counter[tuple[str, Operation, Kind]] = Counter()
        self.faults: dict[tuple[Operation, Kind], Fault] = {}
        self.told: list[TripNews] = []
        self.when_told: Fault = healthy
        """What happens when a workflow tells how its trip ended; the kind is of no meaning."""

    def tries(self, operation: Operation, kind: Kind) -> int:
        """Return how often the record was called so, for all trips together."""
        return sum(
            calls for (_, *called), calls in self._calls.items() if called == [operation, kind]
        )

    async def call(
        self, trip_id: str, operation: Operation, kind: Kind, write: Callable[[], Awaitable[None]]
    ) -> None:
        self._calls[trip_id, operation, kind] += 1
        call = Call(trip_id, operation, kind, self._calls[trip_id, operation, kind], write)
        await self.fault_for(call)(call)

    def fault_for(self, call: Call) -> Fault:
        """Return what happens to `call`."""
        return self.faults.get((call.operation, call.kind), healthy)


class _FaultyReservations(Reservations):
    def __init__(self, database: Database, faulty: FaultyRecord) -> None:
        super().__init__(database)
        self._faulty = faulty

    async def reserve(self, trip: BookVacationInput, kind: Kind, seconds: float = 0.0) -> None:
        write = partial(super().reserve, trip, kind, seconds)
        await self._faulty.call(trip.book_user_id, "reserve", kind, write)

    async def cancel(self, trip: BookVacationInput, kind: Kind, seconds: float = 0.0) -> None:
        write = partial(super().cancel, trip, kind, seconds)
        await self._faulty.call(trip.book_user_id, "cancel", kind, write)


class _FaultyTrips(Trips):
    def __init__(self, database: Database, faulty: FaultyRecord) -> None:
        super().__init__(database)
        self._faulty = faulty

    async def tell(self, trip: BookVacationInput, news: TripNews) -> str | None:
        told, left = self._faulty.told, None
        told.append(news)
        tell = super().tell

        async def write() -> None:
            nonlocal left
            left = await tell(trip, news)

        await self._faulty.when_told(Call(trip.book_user_id, "tell", KINDS[0], len(told), write))
        return left

    async def tell_held(self, trip: BookVacationInput, news: TripNews, seconds: float) -> HeldTrip:
        told, held = self._faulty.told, None
        told.append(news)
        tell_held = super().tell_held

        async def write() -> None:
            nonlocal held
            held = await tell_held(trip, news, seconds)

        await self._faulty.when_told(Call(trip.book_user_id, "tell", KINDS[0], len(told), write))
        assert held is not None
        return held


@asynccontextmanager
async def faulty_worker(
    client: Client, record: Record, hotel_outage_attempts: int = 0
) -> AsyncIterator[FaultyRecord]:
    """Run the product's worker over `record` with faults, none at first."""
    faulty = FaultyRecord(record)
    async with running_worker(client, faulty, hotel_outage_attempts=hotel_outage_attempts):
        yield faulty


def workflow_half(client: Client) -> Worker:
    """Return a worker that takes no activities, so a test decides when workflows see events."""
    # With a cache, later workflow tasks would first wait for this worker to take them.
    return Worker(
        client,
        task_queue=TASK_QUEUE_NAME,
        workflows=run_worker.WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        # Its workflows can tell the record how they end, all the same.
        activities=[
            activities.record_trip,
            activities.record_hold,
            activities.record_stuck_undo,
        ],
        no_remote_activities=True,
        max_cached_workflows=0,
    )


def activity_half(client: Client) -> Worker:
    """Return a worker that runs nothing but activities."""
    return Worker(client, task_queue=TASK_QUEUE_NAME, activities=run_worker.ACTIVITIES)


async def healthy(call: Call) -> None:
    await call.write()


async def down(call: Call) -> None:
    """Fail as a record does that is away, which costs nothing."""
    raise RecordUnavailable("The record is down")


async def unavailable(call: Call) -> None:
    """Fail as a supplier does, which counts."""
    raise Unavailable(f"The {call.kind} is unavailable")


async def answer_lost(call: Call) -> None:
    await call.write()
    raise RecordUnavailable("The answer was lost")


async def refuse_for_good(call: Call) -> None:
    raise Refused(f"The {call.kind} cannot be cancelled")


def at_first(tries: int, fault: Fault) -> Fault:
    """Return `fault` for so many tries, and health after them."""

    async def passing(call: Call) -> None:
        await (fault if call.number <= tries else healthy)(call)

    return passing


class Gate:
    """A fault that holds calls back until it is opened, even when nobody waits for them any more.

    So a write that has left the worker behaves: a cancelled or timed out try does not recall it.
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._writes: list[asyncio.Task[None]] = []

    async def __call__(self, call: Call) -> None:
        write = asyncio.create_task(self._write_once_open(call))
        async with self._arrived:
            self._writes.append(write)
            self._arrived.notify_all()
        await asyncio.shield(write)

    async def reached(self, calls: int = 1) -> None:
        """Wait until so many calls stand before the gate."""
        async with asyncio.timeout(DEADLINE), self._arrived:
            await self._arrived.wait_for(lambda: len(self._writes) >= calls)

    async def open(self) -> list[BaseException | None]:
        """Let every call pass and return what became of those that waited."""
        self._opened.set()
        return await asyncio.gather(*self._writes, return_exceptions=True)

    async def _write_once_open(self, call: Call) -> None:
        await self._opened.wait()
        await call.write()
