"""How suppliers are asked: no faster than they take it, and not while they are away."""

import asyncio

import pytest

from audit.asking import AWAY_AFTER, Line, NotAsked
from record import Record
from shared import SagaPolicy
from suppliers import AnotherItem, OutsideDesk
from tests.conftest import trip
from tests.suppliers.script import DOWN, QUICK, UNKNOWN, Script


def asking(supplier: Script, record: Record, rate: float | None = None) -> Line:
    return Line(OutsideDesk("hotel", supplier, record, "hotels.example"), "hotel", rate)


@pytest.fixture
def supplier() -> Script:
    return Script()


async def test_an_answer_is_passed_on(supplier: Script, record: Record) -> None:
    another = AnotherItem("another")
    supplier.says(QUICK, None, another)
    hotels = asking(supplier, record)
    assert [await hotels.held(trip()) for _ in range(3)] == [QUICK, None, another]


@pytest.mark.parametrize("failure", [DOWN, UNKNOWN, ValueError("http://secret")], ids=repr)
async def test_a_failure_is_no_answer(supplier: Script, record: Record, failure: Exception) -> None:
    supplier.says(failure)
    assert isinstance(await asking(supplier, record).held(trip()), NotAsked)


async def test_a_supplier_that_does_not_answer_in_time_was_not_asked(
    supplier: Script, record: Record
) -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    supplier.says(silent)
    asked = asking(supplier, record).held(trip(policy=SagaPolicy(try_timeout=0.01)))
    assert isinstance(await asked, NotAsked)


async def test_one_that_is_away_is_left_alone_for_a_while_and_then_asked_again(
    supplier: Script, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.asking.AWAY_SECONDS", 0.2)
    supplier.says(*[DOWN] * AWAY_AFTER, QUICK)
    hotels = asking(supplier, record)
    for _ in range(AWAY_AFTER + 10):
        assert isinstance(await hotels.held(trip()), NotAsked)
    assert len(supplier.asked) == AWAY_AFTER
    async with asyncio.timeout(10):
        while isinstance(answer := await hotels.held(trip()), NotAsked):
            await asyncio.sleep(0.01)
    assert answer == QUICK


async def test_failures_between_answers_do_not_make_it_away(
    supplier: Script, record: Record
) -> None:
    supplier.says(*[DOWN, QUICK] * AWAY_AFTER)
    hotels = asking(supplier, record)
    for _ in range(AWAY_AFTER):
        assert isinstance(await hotels.held(trip()), NotAsked)
        assert await hotels.held(trip()) == QUICK


async def test_it_is_asked_with_a_quarter_of_its_rate(supplier: Script, record: Record) -> None:
    supplier.says(QUICK)
    hotels = asking(supplier, record, rate=80.0)
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(hotels.held(trip()) for _ in range(5)))
    assert clock() - began >= 4 / 20
