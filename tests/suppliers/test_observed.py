"""What an observer is told of a supplier's calls, which it leaves as they are."""

import asyncio

import pytest

from record import Record
from shared import Kind
from suppliers import (
    Confirmed,
    EmbeddedSupplier,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    Try,
    TryAgain,
    Unavailable,
)
from suppliers.observed import observed
from tests.suppliers.script import trip

Told = tuple[Kind, str, str]


ANSWERS = [
    (Confirmed("H-1"), "confirmed"),
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
    told: list[Told] = []
    times: list[float] = []

    def observer(kind: Kind, call: str, outcome: str, seconds: float) -> None:
        told.append((kind, call, outcome))
        times.append(seconds)

    async def answering() -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    asking = observed(observer, "hotel", "book", answering())
    if isinstance(answer, BaseException):
        with pytest.raises(type(answer)):
            await asking
    else:
        assert await asking == answer
    assert told == [("hotel", "book", outcome)]
    assert 0 <= times[0] < 10


async def test_the_embedded_supplier_is_observed(record: Record) -> None:
    told: list[Told] = []
    car = EmbeddedSupplier("car", record, observer=lambda *call: told.append(call[:3]))
    await car.book(trip(), Try())
    await car.find(trip())
    await car.cancel_late_booking(trip())
    ended = [("book", "confirmed"), ("find", "confirmed"), ("cancel", "released")]
    assert told == [("car", *call) for call in ended]
