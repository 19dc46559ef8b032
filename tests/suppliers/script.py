"""A supplier that says what a test tells it to say, and notes what it is asked."""

from collections import deque
from typing import Any

from shared import BookVacationInput
from suppliers import Confirmed, OutcomeUnknown, Refused, Released, Unavailable

UNKNOWN = OutcomeUnknown("The hotel supplier failed")
DOWN = Unavailable("The hotel supplier cannot be reached")
NO = Refused("The hotel is full")

QUICK, SURE = Confirmed("QK7R2M"), Released()


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
