"""What an observer is told of a supplier's calls, which it leaves as they are."""

import asyncio
from typing import Any, cast

import pytest

from record import Record
from shared import Kind
from suppliers import (
    Confirmed,
    EmbeddedSupplier,
    ObservedEmbedded,
    ObservedSupplier,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    Supplier,
    Try,
    TryAgain,
    Unavailable,
)
from tests.suppliers.script import trip

Told = tuple[Kind, str, str]


class Answering:
    """A supplier that answers every call with the same, and knows whether it was closed."""

    def __init__(self, answer: object) -> None:
        self._answer = answer
        self.closed = False

    async def _call(self, *_: object) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    book = cancel = find = _call

    async def close(self) -> None:
        self.closed = True


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
@pytest.mark.parametrize("call", ["book", "cancel", "find"])
async def test_each_call_is_told_once_and_answered_as_it_was(
    call: str, answer: object, outcome: str
) -> None:
    told: list[Told] = []
    times: list[float] = []

    def observer(kind: Kind, call: str, outcome: str, seconds: float) -> None:
        told.append((kind, call, outcome))
        times.append(seconds)

    supplier = Answering(answer)
    observed = ObservedSupplier("hotel", cast(Supplier, supplier), observer)
    asking = observed.book(trip(), 1) if call == "book" else getattr(observed, call)(trip())
    if isinstance(answer, BaseException):
        with pytest.raises(type(answer)):
            await asking
    else:
        assert await asking == answer
    assert told == [("hotel", call, outcome)]
    assert 0 <= times[0] < 10
    await observed.close()
    assert supplier.closed


async def test_the_embedded_supplier_is_observed_and_books_as_before(record: Record) -> None:
    told: list[Told] = []
    observed = ObservedEmbedded(
        EmbeddedSupplier("car", record),
        lambda kind, call, outcome, _: told.append((kind, call, outcome)),
    )
    assert await observed.book(trip(), Try()) == Confirmed()
    assert await observed.find(trip()) == Confirmed()
    assert await observed.cancel_late_booking(trip()) == Released()
    with pytest.raises(Refused):
        await observed.book(trip(), Try())
    await observed.close()
    assert told == [
        ("car", "book", "confirmed"),
        ("car", "find", "confirmed"),
        ("car", "cancel", "released"),
        ("car", "book", "refused"),
    ]
