"""Trips are started so many at once, callers take turns, and nobody waits in vain."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from bookings import Bookings, TemporalUnavailable
from bookings.turns import AT_ONCE, Turns
from record import Record
from tests.bookings.requests import JOHN, started, stub
from tests.conftest import IMPATIENT


class Gate:
    """Turns, each of which lasts until it is let go; notes in which order they began."""

    def __init__(self, at_once: int, patience: float = 20) -> None:
        self.turns = Turns(at_once)
        self._patience = patience
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Future[None]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def take(self, caller: str, name: str) -> None:
        async with self.turns.turn(caller, self._patience):
            self.began.append(name)
            self._ends[name] = asyncio.get_running_loop().create_future()
            await self._ends[name]

    async def begin(self, *names: str) -> list[asyncio.Task[None]]:
        """Begin turns that are named for their callers, `a1` for `a`."""
        tasks = [asyncio.create_task(self.take(name[0], name)) for name in names]
        self.tasks += tasks
        await soon()
        return tasks

    async def end(self, *names: str, error: Exception | None = None) -> None:
        for name in names:
            if error is None:
                self._ends[name].set_result(None)
            else:
                self._ends[name].set_exception(error)
            await soon()


NewGate = Callable[..., Gate]


@pytest.fixture
async def new_gate() -> AsyncIterator[NewGate]:
    """What makes a gate, no turn of which outlasts the test."""
    made: list[Gate] = []

    def new_gate(at_once: int, **changes: float) -> Gate:
        made.append(Gate(at_once, **changes))
        return made[-1]

    yield new_gate
    tasks = [task for gate in made for task in gate.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def soon() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_have_a_turn_at_once_and_callers_alternate(new_gate: NewGate) -> None:
    gate = new_gate(2)
    await gate.begin("a1", "a2", "a3", "a4", "a5", "b1", "c1", "b2")
    assert gate.began == ["a1", "a2"]
    for number, name in enumerate(["a3", "b1", "c1", "a4", "b2", "a5"]):
        await gate.end(gate.began[number])
        assert gate.began[-1] == name
    await gate.end("b2", "a5")
    # All turns are free again.
    await gate.begin("d1", "d2", "d3")
    assert gate.began[-2:] == ["d1", "d2"]


async def test_what_one_cannot_ask_nobody_who_waits_asks_in_vain(new_gate: NewGate) -> None:
    gate = new_gate(1)
    tasks = await gate.begin("a1", "a2", "b1")
    await gate.end("a1", error=TemporalUnavailable("away"))
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in failed] == [TemporalUnavailable] * 3
    await gate.begin("c1")
    assert gate.began == ["a1", "c1"]


async def test_what_one_cannot_ask_may_be_asked_by_others_where_one_got_through(
    new_gate: NewGate,
) -> None:
    gate = new_gate(2)
    late, *_ = await gate.begin("a1", "a2", "b1", "c1")
    await gate.end("a2")
    await gate.end("a1", error=TemporalUnavailable("slow"))
    with pytest.raises(TemporalUnavailable):
        await late
    assert gate.began == ["a1", "a2", "b1", "c1"]


async def test_a_failure_of_ones_own_is_no_others(new_gate: NewGate) -> None:
    gate = new_gate(1)
    first, _ = await gate.begin("a1", "b1")
    await gate.end("a1", error=ValueError("of its own"))
    with pytest.raises(ValueError, match="of its own"):
        await first
    assert gate.began == ["a1", "b1"]


async def test_who_waits_for_long_is_told_to_come_again_and_takes_no_turn(
    new_gate: NewGate,
) -> None:
    gate = new_gate(1, patience=0.05)
    _, second = await gate.begin("a1", "b1")
    with pytest.raises(TemporalUnavailable, match="Too many trips"):
        await second
    await gate.end("a1")
    await gate.begin("c1")
    assert gate.began == ["a1", "c1"]


@pytest.mark.parametrize("granted", [False, True])
async def test_who_is_cancelled_leaves_its_turn_to_the_next(
    new_gate: NewGate, granted: bool
) -> None:
    gate = new_gate(1)
    _, second, _ = await gate.begin("a1", "b1", "c1")
    if granted:
        gate._ends["a1"].set_result(None)
        await asyncio.sleep(0)  # The turn is the second one's, which does not know it yet.
    second.cancel()
    await soon()
    if not granted:
        await gate.end("a1")
    assert gate.began == ["a1", "c1"]


async def test_trips_are_started_so_many_at_once_and_a_stop_waits_for_no_turn(
    record: Record,
) -> None:
    client = stub()
    asked = Bookings(client, record, IMPATIENT)
    let_go = asyncio.Event()

    async def start(*_: object, **__: object) -> None:
        await let_go.wait()

    client.start_workflow.side_effect = start
    books = [
        asyncio.create_task(asked.book(f"turn-{number}", JOHN, "shop", 0))
        for number in range(AT_ONCE + 5)
    ]
    async with asyncio.timeout(20):
        while len(started(client)) < AT_ONCE:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(started(client)) == AT_ONCE
    assert len(await record.trips.page(100)) == AT_ONCE, "A trip without a turn is not accepted"
    asked.stop_waiting()
    let_go.set()
    answers = await asyncio.gather(*books, return_exceptions=True)
    assert [type(each) for each in answers].count(TemporalUnavailable) == 5
