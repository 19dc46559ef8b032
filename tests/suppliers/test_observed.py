"""What an observer is told of a supplier's calls, which it leaves as they are."""

import asyncio

import pytest

from shared import Kind
from suppliers import (
    Confirmed,
    Held,
    OutcomeUnknown,
    Pending,
    Quoted,
    Refused,
    Released,
    TryAgain,
    Unavailable,
)
from suppliers.observed import Call, observed

ANSWERS = [
    (Confirmed("H-1"), "confirmed"),
    (Held(900.0), "held"),
    (Quoted(), "quoted"),
    (Pending(3), "pending"),
    (Released(), "released"),
    (None, "not_found"),
    (Refused("No"), "refused"),
    (Unavailable("Down"), "unavailable"),
    (OutcomeUnknown("Lost"), "unknown"),
    (TryAgain("Later"), "unknown"),
    (RuntimeError("A bug"), "unknown"),
    (asyncio.CancelledError(), "unknown"),
]


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS, ids=lambda each: repr(each))
async def test_each_call_is_told_once_and_answered_as_it_was(answer: object, outcome: str) -> None:
    told: list[tuple[Kind, Call, str, float]] = []

    async def answering() -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    asking = observed(lambda *call: told.append(call), "hotel", "book", answering())
    if isinstance(answer, BaseException):
        with pytest.raises(type(answer)):
            await asking
    else:
        assert await asking == answer
    [(*call, seconds)] = told
    assert call == ["hotel", "book", outcome]
    assert 0 <= seconds < 10
