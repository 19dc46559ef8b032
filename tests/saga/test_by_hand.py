"""An operator's hand on an activity blocks no trip, and rolls back no trip against its supplier.

The commands are those of Temporal's own CLI, as an operator would type them.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client

from tests.conftest import IMPATIENT, TEMPORAL_CLI, trip
from tests.faults import Call, FaultyRecord, Gate, healthy, unavailable
from tests.trips import (
    Trip,
    cancelled,
    eventually,
    held,
    replay,
    resolve_undo,
    result_of,
    start,
    steps_of,
    until_failed,
    until_stuck,
)

DOOMED = {"book_flight_id": "invalid-flight-id"}

ODD_RESULTS = ['{"confirmation": "HX-1"}', "{}", "null", "4711", "[]", '"text"']


async def by_hand(client: Client, command: str, booking: Trip, activity: str, *more: str) -> None:
    """Run one of the CLI's commands for an activity."""
    address = client.service_client.config.target_host
    where = ("--workflow-id", booking.id, "--activity-id", f"{activity}-1", "--address", address)
    told = await asyncio.create_subprocess_exec(
        TEMPORAL_CLI, "activity", command, *where, *more, stdout=DEVNULL, stderr=PIPE
    )
    _, error = await told.communicate()
    assert told.returncode == 0, error.decode()


async def at_the_gate(client: Client, faults: FaultyRecord) -> tuple[Trip, Gate]:
    """Return a trip whose supplier may never fail, and the gate before which its hotel stands."""
    faults.faults["reserve", "hotel"] = gate = Gate()
    policy = replace(IMPATIENT, heartbeat_timeout=1.0)
    booking = await start(client, trip(attempts=1, policy=policy))
    await gate.reached()
    return booking, gate


@pytest.mark.parametrize("result", ODD_RESULTS)
async def test_a_step_that_is_completed_with_anything_counts_as_booked(
    client: Client, faults: FaultyRecord, result: str
) -> None:
    booking, gate = await at_the_gate(client, faults)
    await by_hand(client, "complete", booking, "book_hotel", "--result", result)
    assert (await result_of(booking))["status"] == "success"
    assert {step.state for step in (await steps_of(faults, booking)).values()} == {"booked"}
    await gate.open()
    await replay(client, booking)


async def test_an_undo_that_is_completed_with_anything_counts_as_undone(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = gate = Gate()
    booking = await start(client, trip(**DOOMED))
    await gate.reached()
    await by_hand(client, "complete", booking, "undo_book_hotel", "--result", '{"odd": [1]}')
    assert (await result_of(booking))["status"] == "failure"
    await gate.open()
    assert await held(faults, booking) == []


async def test_a_step_that_is_failed_is_rolled_back_in_the_operators_words(
    client: Client, faults: FaultyRecord
) -> None:
    booking, gate = await at_the_gate(client, faults)
    await by_hand(client, "fail", booking, "book_hotel", "--reason", "The hotel has closed")
    assert await result_of(booking) == {"status": "failure", "message": "The hotel has closed"}
    row = await faults.trips.by_id(booking.id)
    assert row is not None and (row.status, row.reason) == ("rolled_back", "The hotel has closed")
    await gate.open()
    assert await held(faults, booking) == []


async def test_an_undo_that_is_failed_is_stuck_in_the_operators_words(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = gate = Gate()
    booking = await start(client, trip(**DOOMED))
    await gate.reached()
    await by_hand(client, "fail", booking, "undo_book_hotel", "--reason", "Case 42")
    await until_stuck(booking, "hotel")
    row = await faults.trips.by_id(booking.id)
    assert row is not None and row.status == "needs_attention"
    assert (await steps_of(faults, booking))["hotel"].last_error == "Case 42"
    await resolve_undo(booking, "hotel", "settled")
    await result_of(booking)
    await gate.open()
    assert await held(faults, booking) == []


async def test_a_step_that_is_paused_while_a_try_runs_goes_on_when_it_may(
    client: Client, faults: FaultyRecord
) -> None:
    booking, gate = await at_the_gate(client, faults)
    await by_hand(client, "pause", booking, "book_hotel")
    await eventually(lambda: is_paused(booking))
    faults.faults.clear()
    await by_hand(client, "unpause", booking, "book_hotel")
    assert (await result_of(booking))["status"] == "success"
    await gate.open()
    assert (await steps_of(faults, booking))["hotel"].attempts == 1


async def test_a_step_that_is_paused_between_two_tries_can_be_cancelled(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = unavailable
    policy = replace(IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0)
    booking = await start(client, trip(policy=replace(policy, step_deadline=3600.0)))
    await until_failed(booking, tries=1)
    await by_hand(client, "pause", booking, "book_hotel")
    await eventually(lambda: is_paused(booking))
    await booking.cancel()
    await cancelled(booking)
    assert await held(faults, booking) == []


async def is_paused(booking: Trip) -> bool:
    pending = (await booking.describe()).raw_description.pending_activities
    return [each.state for each in pending] == [PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED]


CHANGES = [
    ("reset", ()),
    ("update-options", ("--retry-maximum-attempts", "50")),
    ("update-options", ("--heartbeat-timeout", "20s")),
]


@pytest.mark.parametrize(("command", "options"), CHANGES)
@pytest.mark.parametrize("attempts", [2, 3])
async def test_an_activity_that_is_changed_keeps_its_count(
    client: Client, faults: FaultyRecord, command: str, options: tuple[str, ...], attempts: int
) -> None:
    second, may_fail = asyncio.Event(), asyncio.Event()

    async def fail_twice(call: Call) -> None:
        if call.number == 2:
            second.set()
            await may_fail.wait()
        await (unavailable if call.number <= 2 else healthy)(call)

    faults.faults["reserve", "hotel"] = fail_twice
    booking = await start(client, trip(attempts=attempts))
    await second.wait()
    await by_hand(client, command, booking, "book_hotel", *options)
    may_fail.set()
    assert (await result_of(booking))["status"] == ("success" if attempts == 3 else "failure")
    assert (await steps_of(faults, booking))["hotel"].attempts == attempts
