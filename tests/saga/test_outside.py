"""Nothing from outside blocks a trip: no signal, update or query of any name, arity and type."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import (
    Client,
    RPCError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)

from tests.conftest import IMPATIENT, trip
from tests.faults import FaultyRecord, Gate, refuse_for_good
from tests.trips import (
    Trip,
    events,
    resolve_undo,
    result_of,
    start,
    steps_of,
    until_stuck,
)

NAMES = [
    "report_try",
    "retry_undo",
    "resolve_undo",
    "progress",
    "run",
    "ignore",
    "",
    "__temporal_x",
    "🧳" * 100,
]

ARGUMENTS: list[list[Any]] = [
    [],
    ["hotel"],
    ["hotel", "note"],
    ["boat", "note"],
    [None, None],
    [{"kind": ["hotel"]}, 5, []],
    [b"\xff\xfe", b"\x00"],
    [["hotel"] * 100],
    ["x" * 100_000],
]


async def shout_at(running: Trip) -> None:
    """Send a trip every kind of message that makes no sense to it."""
    messages = [(name, arguments) for name in NAMES for arguments in ARGUMENTS]
    await asyncio.gather(*(signal(running, *message) for message in messages))
    assert all(await asyncio.gather(*(refused_update(running, *message) for message in messages)))
    await asyncio.gather(*(query(running, *message) for message in messages))


async def signal(running: Trip, name: str, arguments: list[Any]) -> None:
    with contextlib.suppress(RPCError):  # The server refuses an empty name itself.
        await running.signal(name, args=arguments)


async def query(running: Trip, name: str, arguments: list[Any]) -> None:
    with contextlib.suppress(RPCError, WorkflowQueryFailedError):
        await running.query(name, args=arguments)


async def refused_update(running: Trip, name: str, arguments: list[Any]) -> bool:
    try:
        await running.execute_update(name, args=arguments)
    except (WorkflowUpdateFailedError, RPCError):
        return True
    return False


async def test_a_trip_that_is_shouted_at_is_booked(client: Client, faults: FaultyRecord) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    # However long the shouting takes, its hotel is not given up meanwhile.
    patient = replace(IMPATIENT, step_deadline=300.0, try_timeout=300.0)
    booking = await start(client, trip(policy=patient))
    await gate.reached()
    await shout_at(booking)
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await failed_workflow_tasks(booking) == 0


async def test_a_stuck_trip_that_is_shouted_at_waits_for_its_operator(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "car"] = refuse_for_good
    stuck = await start(client, trip(book_flight_id="invalid"))
    await until_stuck(stuck, "car")
    await stuck.signal("resolve_undo", args=["car", "by signal"])
    for arguments in ([], ["car"], ["car", 5], [None, "note"], ["car", "note", "more"]):
        assert await refused_update(stuck, "resolve_undo", arguments)
    assert await refused_update(stuck, "retry_undo", [{"car": 1}])
    await until_stuck(stuck, "car")
    await resolve_undo(stuck, "car", "x" * 1_900_000)
    await result_of(stuck)
    note = (await steps_of(faults, stuck))["car"].note
    assert note is not None and len(note) == 500
    assert await failed_workflow_tasks(stuck) == 0


async def failed_workflow_tasks(trip: Trip) -> int:
    return sum(
        event.HasField("workflow_task_failed_event_attributes") for event in await events(trip)
    )


@pytest.mark.parametrize("size", [10_000, 500_000])
async def test_an_item_of_any_length_does_not_block_a_trip(
    client: Client, faults: FaultyRecord, size: int
) -> None:
    """As the CLI may start it: the API takes 200 characters."""
    booking = await start(client, trip(book_car_id="x" * size))
    assert (await result_of(booking))["status"] == "success"
    undone = await start(client, trip(book_car_id="x" * size, book_flight_id="invalid"))
    assert (await result_of(undone))["status"] == "failure"
    told = [event.user_metadata.summary.ByteSize() for event in await events(undone)]
    assert 500 < max(told) < 1_000
