"""An operator's hand on an activity blocks no trip, and rolls back no trip against its supplier.

The commands are those of Temporal's own CLI, as an operator would type them.
"""

import asyncio
from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import PendingActivityState

from tests.conftest import IMPATIENT
from tests.faults import Call, Gate, healthy, unavailable
from tests.saga.stage import DOOMED, Stage
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    replay,
    resolve_undo,
    result_of,
    temporal,
    until_failed,
    until_stuck,
)

QUICK = replace(IMPATIENT, heartbeat_timeout=1.0)
"""A policy under which a try that was reset is soon told of it."""

ODD_RESULTS = ['{"confirmation": "HX-1"}', "null"]


async def by_hand(stage: Stage, command: str, booking: Trip, activity: str, *more: str) -> None:
    """Run one of the CLI's commands for an activity."""
    where = ("--workflow-id", booking.id, "--activity-id", f"{activity}-1")
    await temporal(stage.client, "activity", command, *where, *more)


async def at_the_hotel(stage: Stage) -> tuple[Trip, Gate]:
    """Return a trip whose supplier may never fail, and the gate before which its hotel stands."""
    return await stage.at_gate("reserve", "hotel", attempts=1, policy=QUICK)


@pytest.mark.shape("completed_by_hand")
@pytest.mark.parametrize("result", ODD_RESULTS)
async def test_a_step_that_is_completed_with_anything_counts_as_booked(
    stage: Stage, result: str
) -> None:
    booking, gate = await at_the_hotel(stage)
    await by_hand(stage, "complete", booking, "book_hotel", "--result", result)
    assert (await result_of(booking))["status"] == "success"
    assert {step.state for step in (await stage.steps(booking)).values()} == {"booked"}
    await gate.open()
    await replay(stage.client, booking)


async def test_an_undo_that_is_completed_with_anything_counts_as_undone(stage: Stage) -> None:
    booking, gate = await stage.at_gate("cancel", "hotel", **DOOMED)
    await by_hand(stage, "complete", booking, "undo_book_hotel", "--result", '{"odd": [1]}')
    assert (await result_of(booking))["status"] == "failure"
    await gate.open()
    assert await stage.held(booking) == []


@pytest.mark.shape("failed_by_hand")
async def test_a_step_that_is_failed_is_rolled_back_in_the_operators_words(stage: Stage) -> None:
    booking, gate = await at_the_hotel(stage)
    await by_hand(stage, "fail", booking, "book_hotel", "--reason", "The hotel has closed")
    assert await result_of(booking) == {"status": "failure", "message": "The hotel has closed"}
    row = await stage.row(booking)
    assert (row.status, row.reason) == ("rolled_back", "The hotel has closed")
    await gate.open()
    assert await stage.held(booking) == []


async def test_an_undo_that_is_failed_is_stuck_in_the_operators_words(stage: Stage) -> None:
    booking, gate = await stage.at_gate("cancel", "hotel", **DOOMED)
    await by_hand(stage, "fail", booking, "undo_book_hotel", "--reason", "Case 42")
    await until_stuck(booking, "hotel")
    assert (await stage.row(booking)).status == "needs_attention"
    assert (await stage.steps(booking))["hotel"].last_error == "Case 42"
    await resolve_undo(booking, "hotel", "settled")
    await result_of(booking)
    await gate.open()
    assert await stage.held(booking) == []


async def test_a_step_that_is_paused_while_a_try_runs_goes_on_when_it_may(stage: Stage) -> None:
    booking, gate = await at_the_hotel(stage)
    await by_hand(stage, "pause", booking, "book_hotel")
    await eventually(lambda: is_paused(booking))
    paused = (await stage.steps(booking))["hotel"]
    assert (paused.state, paused.attempts) == ("booking", 1)
    assert paused.last_error == "An operator paused this step"
    stage.record.faults.clear()
    await by_hand(stage, "unpause", booking, "book_hotel")
    assert (await result_of(booking))["status"] == "success"
    await gate.open()
    assert (await stage.steps(booking))["hotel"].attempts == 1


async def test_an_undo_that_is_paused_says_so_and_goes_on_when_it_may(stage: Stage) -> None:
    booking, gate = await stage.at_gate("cancel", "hotel", policy=QUICK, **DOOMED)
    await by_hand(stage, "pause", booking, "undo_book_hotel")
    await eventually(lambda: is_paused(booking))
    paused = (await stage.steps(booking))["hotel"]
    assert (paused.state, paused.undo_attempts) == ("undoing", 1)
    assert paused.last_error == "An operator paused this step"
    stage.record.faults.clear()
    await by_hand(stage, "unpause", booking, "undo_book_hotel")
    assert (await result_of(booking))["status"] == "failure"
    await gate.open()
    assert await stage.held(booking) == []


async def test_a_step_that_is_paused_between_two_tries_can_be_cancelled(stage: Stage) -> None:
    stage.breaks("reserve", "hotel", unavailable)
    policy = replace(IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0)
    booking = await stage.start(policy=replace(policy, step_deadline=3600.0))
    await until_failed(booking, tries=1)
    await by_hand(stage, "pause", booking, "book_hotel")
    await eventually(lambda: is_paused(booking))
    await booking.cancel()
    await cancelled(booking)
    assert await stage.held(booking) == []


async def is_paused(booking: Trip) -> bool:
    pending = (await booking.describe()).raw_description.pending_activities
    return [each.state for each in pending] == [PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED]


@pytest.mark.parametrize(
    ("attempts", "command", "options"),
    [
        (3, "reset", ()),
        (2, "update-options", ("--retry-maximum-attempts", "50")),
        (3, "update-options", ("--heartbeat-timeout", "20s")),
    ],
)
async def test_an_activity_that_is_changed_keeps_its_count(
    stage: Stage, attempts: int, command: str, options: tuple[str, ...]
) -> None:
    second, may_fail = asyncio.Event(), asyncio.Event()

    async def fail_twice(call: Call) -> None:
        if call.number == 2:
            second.set()
            await may_fail.wait()
        await (unavailable if call.number <= 2 else healthy)(call)

    stage.breaks("reserve", "hotel", fail_twice)
    booking = await stage.start(attempts=attempts, policy=QUICK)
    await second.wait()
    await by_hand(stage, command, booking, "book_hotel", *options)
    may_fail.set()
    assert (await result_of(booking))["status"] == ("success" if attempts == 3 else "failure")
    assert (await stage.steps(booking))["hotel"].attempts == attempts
