"""Load: so many bookings, so many at once, through HTTP or through the Temporal SDK alone.

A closed loop: each of `at_once` callers books, waits for the outcome and books again. It goes to
this machine only and is bounded in count and time.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
from temporalio.client import Client

from shared import TASK_QUEUE_NAME, BookVacationInput, new_user_id
from workflows import BookingWorkflow

BOOKING_DEADLINE = 120.0
"""Seconds after which a booking counts as failed."""


@dataclass(frozen=True)
class Trip:
    """What each booking of a load asks for, and whether it can be booked."""

    name: str = "Bench Mark"
    car: str = "valid-car-id"
    hotel: str = "valid-hotel-id"
    flight: str = "valid-flight-id"
    hold_seconds: int | None = None
    """For how long it is held; `None`: it is booked."""

    @property
    def bookable(self) -> bool:
        """Whether the suppliers know all that is asked for."""
        return not any("invalid" in item for item in (self.car, self.hotel, self.flight))

    @property
    def becomes(self) -> str:
        """The status of the trip when it is answered."""
        return "held" if self.hold_seconds else "booked" if self.bookable else "rolled_back"


@dataclass
class Load:
    """How a load went. Times in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Bookings a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the latency that `share` of the bookings did not exceed."""
        ordered = sorted(self.latencies) or [float("nan")]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def p50(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies) if self.latencies else float("nan")


Book = Callable[[], Awaitable[None]]
"""Books one trip; raises when it does not end as it should."""


class WrongOutcome(Exception):
    """A booking was answered, but not as it should be."""


def through_http(
    urls: Sequence[str],
    trip: Trip,
    bookings: int,
    at_once: int,
    a_second: float | None = None,
) -> Load:
    """Book through `POST /book` of the APIs at `urls`, in turn; at most so many `a_second`."""

    async def run() -> Load:
        body = {name: value for name, value in asdict(trip).items() if value is not None}
        turns = itertools.cycle(urls)
        connections = aiohttp.TCPConnector(limit=0)
        deadline = aiohttp.ClientTimeout(total=BOOKING_DEADLINE)
        async with aiohttp.ClientSession(connector=connections, timeout=deadline) as session:

            async def book() -> None:
                url = next(turns)
                async with session.post(f"{url}/book", json=body) as response:
                    answer = await response.json(content_type=None)
                if response.status == 202:
                    status = await _status_once_ended(session, url + answer["location"])
                elif response.status == 200 and "status" in answer:
                    status = answer["status"]
                elif response.status == 200:
                    status = "rolled_back" if answer["cancelled"] else "booked"
                else:
                    raise WrongOutcome(f"HTTP {response.status}")
                if status != trip.becomes:
                    raise WrongOutcome(status)

            return await _load(book, bookings, at_once, a_second)

    return asyncio.run(run())


async def _status_once_ended(session: aiohttp.ClientSession, url: str) -> str:
    """Look up a booking that took longer than the API waits, as its caller would."""
    while True:
        async with session.get(url, params={"wait": "60"}) as response:
            booking = await response.json(content_type=None)
        if response.status != 200:
            raise WrongOutcome(f"HTTP {response.status} of a look-up")
        if booking["closed_at"] is not None:
            return str(booking["status"])


def through_sdk(address: str, trip: Trip, bookings: int, at_once: int) -> Load:
    """Book with the SDK's client alone, as the API starts a trip: fit to be read in the Web UI."""
    told = {name: str(value) for name, value in vars(trip).items() if value is not None}
    memo = told | {"attempts": "5", "owner": "anonymous"}
    summary = " · ".join(told.values())
    return _through_client(
        address,
        trip,
        bookings,
        at_once,
        memo=memo,
        static_summary=summary,
    )


def through_bare_sdk(address: str, trip: Trip, bookings: int, at_once: int) -> Load:
    """Book with the SDK's client alone, with nothing but the input, the id and the task queue."""
    return _through_client(address, trip, bookings, at_once)


def _through_client(address: str, trip: Trip, bookings: int, at_once: int, **options: Any) -> Load:
    async def run() -> Load:
        client = await Client.connect(address)

        async def book() -> None:
            user_id = new_user_id(trip.name)
            wanted = BookVacationInput(5, user_id, trip.car, trip.hotel, trip.flight)
            result = await client.execute_workflow(
                BookingWorkflow.run, wanted, id=user_id, task_queue=TASK_QUEUE_NAME, **options
            )
            if (result["status"] == "success") is not trip.bookable:
                raise WrongOutcome(result["status"])

        return await _load(book, bookings, at_once)

    return asyncio.run(run())


async def _load(book: Book, bookings: int, at_once: int, a_second: float | None = None) -> Load:
    load = Load()
    tickets = iter(range(bookings))
    start = time.perf_counter()

    async def caller() -> None:
        for ticket in tickets:
            if a_second is not None:
                await asyncio.sleep(start + ticket / a_second - time.perf_counter())
            began = time.perf_counter()
            try:
                async with asyncio.timeout(BOOKING_DEADLINE):
                    await book()
            except Exception as error:  # Whatever it is, it is counted and shown.
                load.errors[f"{type(error).__name__}: {error}"[:80]] += 1
            else:
                load.latencies.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as callers:
        for _ in range(min(at_once, bookings)):
            callers.create_task(caller())
    load.seconds = time.perf_counter() - start
    return load
