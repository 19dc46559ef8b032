"""Nothing from outside blocks a trip: no signal, update or query of any name, arity and type."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import (
    RPCError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)

from connection import UnreadablePayload
from tests.conftest import IMPATIENT, trip
from tests.encrypting import with_keys
from tests.saga.stage import DOOMED, Stage
from tests.trips import (
    Trip,
    events,
    failed_workflow_tasks,
    resolve_undo,
    result_of,
    retry_undo,
    start,
    until_stuck,
)
from workflows import BookingWorkflow

HANDLED = ["confirm", "retry_undo", "resolve_undo", "progress"]
OTHERS = ["run", "ignore", "", "__temporal_x", "🧳" * 100]
"""Names of updates and queries that a trip has handlers for, and others."""

ARGUMENTS: list[list[Any]] = [
    [],
    [None, None],
    [{"kind": ["hotel"]}, 5, []],
    [b"\xff\xfe", b"\x00"],
    ["x" * 100_000],
]

NONSENSE: list[tuple[str, list[Any]]] = [
    *(("resolve_undo", odd) for odd in ([], ["car"], ["car", 5], [None, "note"])),
    ("resolve_undo", ["car", "a note", "another"]),
    ("resolve_undo", ["boat", "note"]),
    ("retry_undo", [{"car": 1}]),
    ("retry_undo", ["boat"]),
]
"""Updates that a trip with a stuck undo of its car refuses."""


async def shout_at(running: Trip) -> None:
    """Send a trip every kind of message that makes no sense to it."""
    messages = [
        *((name, arguments) for name in HANDLED for arguments in ARGUMENTS),
        *((name, arguments) for name in OTHERS for arguments in ARGUMENTS[-2:]),
    ]
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


async def test_a_trip_that_is_shouted_at_is_booked(stage: Stage) -> None:
    # However long the shouting takes, its hotel is not given up meanwhile.
    patient = replace(IMPATIENT, step_deadline=300.0, try_timeout=300.0)
    booking, gate = await stage.at_gate("reserve", "hotel", policy=patient)
    await shout_at(booking)
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await failed_workflow_tasks(booking) == []


async def test_a_stuck_trip_that_is_shouted_at_waits_for_its_operator(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = await stage.stuck("car")
    await stuck.signal("resolve_undo", args=["car", "by signal"])
    for update, arguments in NONSENSE:
        assert await refused_update(stuck, update, arguments)
    await retry_undo(stuck, "hotel")
    assert stage.record.tries("cancel", "hotel") == 1, "It is undone already"
    await until_stuck(stuck, "car")
    # It is dropped, and the operator told. Without a handler the SDK keeps it, and tells nobody.
    assert "Ignored the signal resolve_undo" in caplog.text
    await resolve_undo(stuck, "car", "x" * 1_900_000)
    await result_of(stuck)
    note = (await stage.steps(stuck))["car"].note
    assert note is not None and len(note) == 500
    assert await failed_workflow_tasks(stuck) == []


async def test_messages_under_an_unknown_key_block_no_trip(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "hotel")
    stranger = with_keys(stage.client, "new").get_workflow_handle_for(
        BookingWorkflow.run, booking.id
    )
    await stranger.signal("anything", args=["said"])
    # If the refusal is encrypted, the stranger cannot read that either.
    with pytest.raises((WorkflowUpdateFailedError, UnreadablePayload)):
        await stranger.execute_update("retry_undo", args=["hotel"])
    with contextlib.suppress(UnreadablePayload):
        await query(stranger, "progress", ["said"])
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await failed_workflow_tasks(booking) == []


async def test_a_very_long_item_does_not_block_a_trip(stage: Stage) -> None:
    """As the CLI may start it: the API takes 200 characters."""
    size = 500_000
    booked = await start(stage.client, trip(book_car_id="x" * size))
    assert (await result_of(booked))["status"] == "success"
    undone = await start(stage.client, trip(book_car_id="x" * size, **DOOMED))
    assert (await result_of(undone))["status"] == "failure"
    told = [event.user_metadata.summary.ByteSize() for event in await events(undone)]
    assert 500 < max(told) < 1_000
