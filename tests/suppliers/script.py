"""A supplier that says what a test tells it to say, and notes what it is asked."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client

from record import Record
from settings import Settings
from shared import BookVacationInput, Kind
from suppliers import (
    Confirmed,
    OutcomeUnknown,
    OutsideDesk,
    Refused,
    Released,
    Unavailable,
    compose,
)
from tests.record import trips
from tests.workers import running_worker

UNKNOWN = OutcomeUnknown("The hotel supplier failed")
DOWN = Unavailable("The hotel supplier cannot be reached")
NO = Refused("The hotel is full")

QUICK, SURE = Confirmed("QK7R2M"), Released()


trip = trips.trip
"""Returns a trip as an activity of a workflow execution asks for it."""


class Script:
    """The supplier. An answer is a value, an exception, or a function that has either."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: deque[Any] = deque()
        self._last: Any = None

    def says(self, *answers: Any) -> None:
        """Answer the next questions so, and all after them as the last one."""
        self._answers.extend(answers)

    async def book(self, trip: BookVacationInput, attempt: int) -> Any:
        return await self._answer("book")

    async def confirm(self, trip: BookVacationInput) -> Any:
        return await self._answer("confirm")

    async def cancel(self, trip: BookVacationInput) -> Any:
        return await self._answer("cancel")

    async def find(self, trip: BookVacationInput) -> Any:
        return await self._answer("find")

    async def close(self) -> None:
        self.asked.append("close")

    async def _answer(self, question: str) -> Any:
        self.asked.append(question)
        if self._answers:
            self._last = self._answers.popleft()
        answer = await self._last() if callable(self._last) else self._last
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def working_with(
    client: Client, record: Record, kind: Kind = "hotel", late: float = 0.0
) -> AsyncIterator[Script]:
    """Run a worker whose supplier of one kind is a script; the others are embedded."""
    supplier = Script()
    desks = dict(compose(record, Settings(hotel_latency_seconds=0, hotel_outage_attempts=0)).desks)
    desks[kind] = OutsideDesk(kind, supplier, record, "supplier.example", late)
    async with running_worker(client, record, desks):
        yield supplier
