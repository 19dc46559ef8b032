"""Cancelling a trip at any moment, and after it was booked, ends with nothing held."""

from dataclasses import replace
from functools import partial
from typing import Literal

import pytest

from record import ReservationRefused
from shared import CANCELLED, KINDS, Kind
from tests.conftest import IMPATIENT, trip
from tests.faults import Gate, activity_half, unavailable, workflow_half
from tests.saga.stage import DOOMED, LAST, Stage
from tests.trips import (
    UNDO_ALL,
    Trip,
    activities_of,
    book_and_cancel_unseen,
    cancelled,
    result_of,
    start_cancellation,
    until,
    until_failed,
)

PATIENT = replace(IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0, step_deadline=3600.0)
"""A policy under which a failed try is not repeated while a test lasts."""


async def assert_nothing_is_left(stage: Stage, stopped: Trip, last: Kind) -> None:
    """Check a trip that was cancelled at step `last`: closed as Canceled, all begun undone."""
    await cancelled(stopped)
    assert await stage.held(stopped) == []
    begun = KINDS.index(last) + 1
    states = [step.state for step in (await stage.steps(stopped)).values()]
    assert states == ["undone"] * begun + ["pending"] * (len(KINDS) - begun)
    row = await stage.row(stopped)
    assert (row.status, row.reason) == ("cancelled", CANCELLED)
    ran = await activities_of(stopped)
    assert [name for name in ran if name in UNDO_ALL] == UNDO_ALL[len(KINDS) - begun :]


@pytest.mark.shape("cancelled_before")
async def test_a_trip_cancelled_before_its_first_step_holds_nothing(empty_stage: Stage) -> None:
    stopped = await empty_stage.start()
    await stopped.cancel()
    async with empty_stage.worker():
        await cancelled(stopped)
    assert await empty_stage.held(stopped) == []
    assert await activities_of(stopped) in ([], ["undo_book_car"])


@pytest.mark.shape("cancelled_during_{kind}")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_while_a_try_runs_holds_nothing(stage: Stage, kind: Kind) -> None:
    stopped, gate = await stage.at_gate("reserve", kind)
    await stopped.cancel()
    await assert_nothing_is_left(stage, stopped, kind)
    (late,) = await gate.open()
    assert isinstance(late, ReservationRefused)
    assert await stage.held(stopped) == []


@pytest.mark.shape("cancelled_between_tries")
async def test_a_trip_cancelled_while_it_waits_to_try_again_holds_nothing(stage: Stage) -> None:
    stage.breaks("reserve", "hotel", unavailable)
    stopped = await stage.start(policy=PATIENT)
    await until_failed(stopped, tries=1)
    await stopped.cancel()
    await assert_nothing_is_left(stage, stopped, "hotel")
    assert stage.record.tries("reserve", "hotel") == 1


@pytest.mark.shape("cancelled_after_{kind}")
@pytest.mark.parametrize("first", ["answer", "cancel"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_that_learns_at_once_of_a_booked_step_and_a_cancel_holds_nothing(
    empty_stage: Stage, kind: Kind, first: Literal["answer", "cancel"]
) -> None:
    """The cancel falls between two steps or after the last one, before the workflow goes on."""
    client, record = empty_stage.client, empty_stage.record
    async with activity_half(client):
        stopped = await empty_stage.start()
        await book_and_cancel_unseen(client, record, stopped, kind, first)
        assert await empty_stage.held(stopped) == list(KINDS[: KINDS.index(kind) + 1])
        async with workflow_half(client):
            await assert_nothing_is_left(empty_stage, stopped, kind)


@pytest.mark.shape("cancelled_in_undo")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_trip_cancelled_while_it_rolls_back_still_undoes_everything(
    stage: Stage, kind: Kind
) -> None:
    stopped, gate = await stage.at_gate("cancel", kind, **DOOMED)
    await stopped.cancel()
    # A query is answered only after the workflow has seen the cancel.
    await until(stopped, lambda steps: steps[kind] == "undoing")
    await gate.open()
    await assert_nothing_is_left(stage, stopped, LAST)


async def test_a_booked_trip_is_undone_in_reverse_and_twice_alike(stage: Stage) -> None:
    booked = await stage.booked()
    row = await stage.record.trips.begin_cancellation(booked.id)
    assert (row.status, row.closed_at) == ("running", None)
    by_hand = partial(start_cancellation, stage.client, trip(book_user_id=booked.id))
    for cancel in (partial(stage.cancellation, booked), by_hand):
        cancellation = await cancel()
        told = {"status": "cancelled", "message": "Voyage cancelled"}
        assert await result_of(cancellation) == told
        assert await activities_of(cancellation) == UNDO_ALL
        assert {step.state for step in (await stage.steps(booked)).values()} == {"undone"}
        assert await stage.held(booked) == []
    row = await stage.row(booked)
    assert (row.status, row.reason) == ("cancelled", CANCELLED)
    assert row.first_run_id == booked.first_execution_run_id


@pytest.mark.shape("cancelled_after_booking")
async def test_the_cancellation_of_a_booked_trip_survives_its_own_cancel_and_a_second_one(
    stage: Stage,
) -> None:
    booked = await stage.booked()
    gate = stage.breaks("cancel", "hotel", Gate())
    cancellation = await stage.cancellation(booked)
    await gate.reached()
    await stage.cancellation(booked)
    await cancellation.cancel()
    await gate.open()
    assert (await result_of(cancellation))["status"] == "cancelled"
    assert stage.record.tries("cancel", "hotel") == 1
    assert await stage.held(booked) == []


async def test_a_cancellation_that_is_cancelled_before_it_begins_undoes_the_trip(
    empty_stage: Stage,
) -> None:
    async with empty_stage.worker():
        booked = await empty_stage.booked()
    cancellation = await empty_stage.cancellation(booked)
    await cancellation.cancel()
    async with empty_stage.worker():
        assert (await result_of(cancellation))["status"] == "cancelled"
    assert await empty_stage.held(booked) == []
