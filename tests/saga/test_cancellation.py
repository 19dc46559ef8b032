"""Cancelling a trip at any moment, and after it was booked, ends with nothing held."""

from dataclasses import replace
from typing import Literal

import pytest
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from record import Record, ReservationRefused
from shared import CANCELLED, KINDS, Kind
from tests.conftest import IMPATIENT, trip
from tests.faults import (
    Call,
    FaultyRecord,
    Gate,
    activity_half,
    healthy,
    unavailable,
    workflow_half,
)
from tests.trips import (
    UNDO_ALL,
    Trip,
    activities_of,
    book_and_cancel_unseen,
    cancelled,
    held,
    result_of,
    start,
    start_cancellation,
    steps_of,
    until,
    until_failed,
)
from tests.workers import running_worker, work_with

LAST = KINDS[-1]

PATIENT = replace(IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0, step_deadline=3600.0)
"""A policy under which a failed try is not repeated while a test lasts."""


async def assert_nothing_is_left(record: Record, stopped: Trip, last: Kind) -> None:
    """Check a trip that was cancelled at step `last`: closed as Canceled, all begun undone."""
    await cancelled(stopped)
    assert await held(record, stopped) == []
    begun = KINDS.index(last) + 1
    states = [step.state for step in (await steps_of(record, stopped)).values()]
    assert states == ["undone"] * begun + ["pending"] * (len(KINDS) - begun)
    row = await record.trips.by_id(stopped.id)
    assert row is not None and (row.status, row.reason) == ("cancelled", CANCELLED)
    ran = await activities_of(stopped)
    assert [name for name in ran if name in UNDO_ALL] == UNDO_ALL[len(KINDS) - begun :]


async def test_a_trip_cancelled_before_its_first_step_holds_nothing(
    client: Client, record: Record
) -> None:
    stopped = await start(client, trip())
    await stopped.cancel()
    async with running_worker(client, record):
        await cancelled(stopped)
    assert await held(record, stopped) == []
    assert await activities_of(stopped) in ([], ["undo_book_car"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_while_a_try_runs_holds_nothing(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", kind] = gate = Gate()
    stopped = await start(client, trip())
    await gate.reached()
    await stopped.cancel()
    await assert_nothing_is_left(faults, stopped, kind)
    (late,) = await gate.open()
    assert isinstance(late, ReservationRefused)
    assert await held(faults, stopped) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_after_the_write_but_before_the_answer_holds_nothing(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    async def cancel_after_writing(call: Call) -> None:
        await call.write()
        await stopped.cancel()

    faults.faults["reserve", kind] = cancel_after_writing
    stopped = await start(client, trip())
    await assert_nothing_is_left(faults, stopped, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_while_it_waits_to_try_again_holds_nothing(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", kind] = unavailable
    stopped = await start(client, trip(policy=PATIENT))
    await until_failed(stopped, tries=1)
    await stopped.cancel()
    await assert_nothing_is_left(faults, stopped, kind)
    assert faults.tries("reserve", kind) == 1


@pytest.mark.parametrize("first", ["answer", "cancel"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_that_learns_at_once_of_a_booked_step_and_a_cancel_holds_nothing(
    client: Client, record: Record, kind: Kind, first: Literal["answer", "cancel"]
) -> None:
    """The cancel falls between two steps or after the last one, before the workflow goes on."""
    faults = FaultyRecord(record)
    work_with(faults)
    async with activity_half(client):
        stopped = await start(client, trip())
        await book_and_cancel_unseen(client, faults, stopped, kind, first)
        assert await held(record, stopped) == list(KINDS[: KINDS.index(kind) + 1])
        async with workflow_half(client):
            await assert_nothing_is_left(record, stopped, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_while_it_rolls_back_still_undoes_everything(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = gate = Gate()
    stopped = await start(client, trip(**{f"book_{LAST}_id": f"invalid-{LAST}-id"}))
    await gate.reached()
    await stopped.cancel()
    # A query is answered only after the workflow has seen the cancel.
    await until(stopped, lambda steps: steps[kind] == "undoing")
    await gate.open()
    await assert_nothing_is_left(faults, stopped, LAST)


@pytest.mark.parametrize("kind", ["car", "hotel"])
async def test_a_second_cancel_does_not_stop_the_undo_of_the_first(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["reserve", LAST] = to_cancel = Gate()
    faults.faults["cancel", kind] = undoing = Gate()
    stopped = await start(client, trip())
    await to_cancel.reached()
    await stopped.cancel()
    await undoing.reached()
    await stopped.cancel()
    await undoing.open()
    await assert_nothing_is_left(faults, stopped, LAST)
    await to_cancel.open()
    assert await held(faults, stopped) == []


async def test_an_undo_that_waits_to_try_again_survives_a_cancel(
    client: Client, faults: FaultyRecord
) -> None:
    async def cancel_and_fail_at_first(call: Call) -> None:
        if call.number == 1:
            await stopped.cancel()
            await unavailable(call)
        await healthy(call)

    faults.faults["cancel", "car"] = cancel_and_fail_at_first
    stopped = await start(client, trip(book_hotel_id="invalid-hotel-id"))
    await assert_nothing_is_left(faults, stopped, "hotel")
    assert faults.tries("cancel", "car") == 2


async def test_cancelling_a_booked_trip_undoes_it_in_reverse(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await book(client)
    assert await held(faults, booked) == list(KINDS)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    assert await result_of(cancellation) == {"status": "cancelled", "message": "Voyage cancelled"}
    assert await activities_of(cancellation) == UNDO_ALL
    assert {step.state for step in (await steps_of(faults, booked)).values()} == {"undone"}
    assert await held(faults, booked) == []


async def test_cancelling_a_booked_trip_again_ends_alike(
    client: Client, faults: FaultyRecord
) -> None:
    booked = await book(client)
    first, second = [
        await result_of(await start_cancellation(client, trip(book_user_id=booked.id)))
        for _ in range(2)
    ]
    assert first == second
    assert await held(faults, booked) == []


async def test_a_booked_trip_cannot_be_cancelled_twice_at_once(
    client: Client, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = gate = Gate()
    booked = await book(client)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    await gate.reached()
    with pytest.raises(WorkflowAlreadyStartedError):
        await start_cancellation(client, trip(book_user_id=booked.id))
    await gate.open()
    assert (await result_of(cancellation))["status"] == "cancelled"
    assert faults.tries("cancel", "hotel") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_the_cancellation_of_a_booked_trip_survives_its_own_cancel(
    client: Client, faults: FaultyRecord, kind: Kind
) -> None:
    faults.faults["cancel", kind] = gate = Gate()
    booked = await book(client)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    await gate.reached()
    await cancellation.cancel()
    await gate.open()
    assert (await result_of(cancellation))["status"] == "cancelled"
    assert await held(faults, booked) == []


async def test_a_cancellation_that_is_cancelled_before_it_begins_undoes_the_trip(
    client: Client, record: Record
) -> None:
    async with running_worker(client, record):
        booked = await book(client)
    cancellation = await start_cancellation(client, trip(book_user_id=booked.id))
    await cancellation.cancel()
    async with running_worker(client, record):
        assert (await result_of(cancellation))["status"] == "cancelled"
    assert await held(record, booked) == []


async def book(client: Client) -> Trip:
    booked = await start(client, trip())
    assert (await result_of(booked))["status"] == "success"
    return booked
