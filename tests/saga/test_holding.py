"""A trip that is held: until its traveller confirms it, it expires, or somebody cancels it."""

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from saga import holding
from shared import EXPIRED, KINDS, Price
from suppliers import Confirmed, Held, Quoted
from tests.conftest import IMPATIENT
from tests.faults import Call, Gate, refuse_for_good
from tests.saga.stage import DOOMED, Stage
from tests.suppliers.script import NO, QUICK, SURE, working_with
from tests.trips import (
    BOOK_ALL,
    UNDO_ALL,
    Trip,
    activities_of,
    cancelled,
    events,
    eventually,
    failed_workflow_tasks,
    replay,
    reset_to,
    result_of,
    workflow_tasks,
)
from workflows import BookingWorkflow

HELD: dict[str, Any] = {"hold_seconds": 600.0}


async def until_status(stage: Stage, booking: Trip, status: str) -> None:
    async with asyncio.timeout(20):
        while (await stage.row(booking)).status != status:
            await asyncio.sleep(0.02)


async def held_trip(stage: Stage, **changes: Any) -> Trip:
    booking = await stage.start(**(HELD | changes))
    await until_status(stage, booking, "held")
    return booking


async def confirm(booking: Trip) -> None:
    await booking.execute_update(BookingWorkflow.confirm)


async def refusal_of_confirm(booking: Trip) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await confirm(booking)
    return str(refused.value.cause)


@pytest.mark.shape("held_and_confirmed")
async def test_a_held_trip_is_booked_once_it_is_confirmed(stage: Stage) -> None:
    booking = await held_trip(stage)
    row = await stage.row(booking)
    assert (row.confirmed_at, row.closed_at) == (None, None)
    assert row.expires_at is not None
    assert [step.state for step in row.steps] == ["held"] * len(KINDS)
    assert await stage.held(booking) == []
    await confirm(booking)
    await confirm(booking)
    assert (await result_of(booking))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)
    assert await activities_of(booking) == BOOK_ALL * 2
    row = await stage.row(booking)
    assert row.status == "booked"
    assert row.confirmed_at is not None
    await replay(stage.client, booking)


@pytest.mark.shape("held_and_expired")
async def test_a_held_trip_that_nobody_confirms_expires(stage: Stage) -> None:
    booking = await held_trip(stage, hold_seconds=2.0)
    assert await result_of(booking) == {"status": "expired", "message": EXPIRED}
    assert await activities_of(booking) == BOOK_ALL + UNDO_ALL
    row = await stage.row(booking)
    assert (row.status, row.reason, row.confirmed_at) == ("expired", EXPIRED, None)
    assert [step.state for step in row.steps] == ["undone"] * len(KINDS)
    await replay(stage.client, booking)


@pytest.mark.shape("held_and_cancelled")
async def test_a_held_trip_can_be_cancelled_and_not_confirmed_then(stage: Stage) -> None:
    gate = stage.breaks("cancel", "flight", Gate())
    booking = await held_trip(stage)
    await booking.cancel()
    await gate.reached()
    assert await refusal_of_confirm(booking) == "NotHeld: The trip is not held any more"
    await gate.open()
    await cancelled(booking)
    assert (await stage.row(booking)).status == "cancelled"
    assert await activities_of(booking) == BOOK_ALL + UNDO_ALL


async def test_a_trip_that_is_to_be_booked_at_once_cannot_be_confirmed(stage: Stage) -> None:
    booking, gate = await stage.at_gate("reserve", "hotel")
    assert await refusal_of_confirm(booking) == "NotHeld: The trip is not to be held"
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await activities_of(booking) == BOOK_ALL


async def test_a_confirm_may_reach_the_workflow_before_it_knows_that_its_trip_is_held(
    stage: Stage,
) -> None:
    booking, gate = await stage.at_gate("reserve", "flight", **HELD)
    await confirm(booking)
    await gate.open()
    assert (await result_of(booking))["status"] == "success"
    assert await activities_of(booking) == BOOK_ALL * 2
    assert await stage.held(booking) == list(KINDS)


async def test_a_trip_that_goes_back_cannot_be_confirmed(stage: Stage) -> None:
    gate = stage.breaks("cancel", "car", Gate())
    booking = await stage.start(**(HELD | DOOMED))
    await gate.reached()
    assert await refusal_of_confirm(booking) == "NotHeld: The trip is not held any more"
    await gate.open()
    assert (await result_of(booking))["status"] == "failure"


async def test_a_confirm_that_comes_long_after_the_time_is_up_is_refused(
    empty_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker was there when the time was up, so the workflow does not know it."""
    monkeypatch.setattr(holding, "GRACE", dt.timedelta(0))
    async with empty_stage.worker():
        booking = await held_trip(empty_stage, hold_seconds=1.0)
    await asyncio.sleep(1.2)
    late = asyncio.create_task(refusal_of_confirm(booking))
    await asyncio.sleep(0.2)
    async with empty_stage.worker():
        assert await late == "NotHeld: The trip is not held any more"
        assert (await result_of(booking))["status"] == "expired"


async def test_a_trip_that_expires_cannot_be_confirmed_any_more(stage: Stage) -> None:
    gate = stage.breaks("cancel", "flight", Gate())
    booking = await held_trip(stage, hold_seconds=1.0)
    await gate.reached()
    assert await refusal_of_confirm(booking) == "NotHeld: The trip is not held any more"
    await gate.open()
    assert (await result_of(booking))["status"] == "expired"


@pytest.mark.shape("held_and_refused")
async def test_a_step_that_fails_at_the_confirm_undoes_all(stage: Stage) -> None:
    booking = await held_trip(stage)
    stage.breaks("reserve", "hotel", refuse_for_good)
    await confirm(booking)
    assert (await result_of(booking))["status"] == "failure"
    assert await stage.held(booking) == []
    assert await activities_of(booking) == [*BOOK_ALL, *BOOK_ALL[:2], *UNDO_ALL]
    row = await stage.row(booking)
    assert row.status == "rolled_back"
    assert row.confirmed_at is not None


async def test_a_trip_can_be_confirmed_as_soon_as_the_record_tells_that_it_is_held(
    stage: Stage,
) -> None:
    answered = asyncio.Event()

    async def answer_later(call: Call) -> None:
        await call.write()
        await answered.wait()

    stage.record.when_told = answer_later
    # A workflow that waits for its local activity hears of an update within that time.
    booking = await stage.start(task_timeout=2.0, **HELD)
    await until_status(stage, booking, "held")
    await confirm(booking)
    answered.set()
    assert (await result_of(booking))["status"] == "success"
    await replay(stage.client, booking)


QUOTED_FIRST = ["book_hotel", *(name for name in BOOK_ALL if name != "book_hotel")]
"""The activities of the confirm of a trip whose hotel was only quoted."""


@pytest.mark.shape("held_and_quoted")
async def test_what_was_only_quoted_is_booked_before_the_holds_are_confirmed(
    empty_stage: Stage,
) -> None:
    async with working_with(empty_stage.client, empty_stage.record) as hotels:
        hotels.says(Quoted(), QUICK)
        booking = await held_trip(empty_stage)
        row = await empty_stage.row(booking)
        assert {step.kind: step.state for step in row.steps} == {
            **dict.fromkeys(KINDS, "held"),
            "hotel": "quoted",
        }
        await confirm(booking)
        assert (await result_of(booking))["status"] == "success"
    assert hotels.asked == ["book", "book"]
    assert await empty_stage.held(booking) == list(KINDS)
    assert await activities_of(booking) == BOOK_ALL + QUOTED_FIRST
    await replay(empty_stage.client, booking)


@pytest.mark.shape("held_and_quoted_in_vain")
async def test_when_what_was_quoted_is_refused_the_holds_are_released_unconfirmed(
    empty_stage: Stage,
) -> None:
    async with working_with(empty_stage.client, empty_stage.record) as hotels:
        hotels.says(Quoted(), NO)
        booking = await held_trip(empty_stage)
        await confirm(booking)
        assert await result_of(booking) == {"status": "failure", "message": str(NO)}
    assert hotels.asked == ["book", "book"], "There is nothing to cancel"
    assert await activities_of(booking) == BOOK_ALL + QUOTED_FIRST[:1] + UNDO_ALL
    # A confirmed one would have been booked by the record, and it was not.
    assert empty_stage.record.tries("reserve", "car") == 1
    assert await empty_stage.held(booking) == []
    await replay(empty_stage.client, booking)


async def test_a_price_that_has_changed_at_the_confirm_undoes_all(empty_stage: Stage) -> None:
    before, after = Price("120.00", "EUR"), Price("130.00", "EUR")
    words = "The price of the hotel has changed from 120.00 EUR to 130.00 EUR"
    async with working_with(empty_stage.client, empty_stage.record) as hotels:
        hotels.says(Held(600, before), Confirmed("QK7R2M", after), SURE)
        booking = await held_trip(empty_stage)
        await confirm(booking)
        assert await result_of(booking) == {"status": "failure", "message": words}
    assert hotels.asked == ["book", "confirm", "cancel"]
    assert await empty_stage.held(booking) == []
    row = await empty_stage.row(booking)
    assert (row.status, row.reason) == ("rolled_back", words)


async def test_the_first_supplier_that_releases_its_hold_ends_the_trips(
    empty_stage: Stage,
) -> None:
    async with working_with(empty_stage.client, empty_stage.record) as hotels:
        hotels.says(Held(1.0), SURE)
        booking = await held_trip(empty_stage)
        assert (await result_of(booking))["status"] == "expired"
    assert hotels.asked == ["book", "cancel"]


async def numbers_of(booking: Trip, event: str) -> list[int]:
    """Return the ids of a trip's events of one kind."""
    attributes = f"{event}_event_attributes"
    return [each.event_id for each in await events(booking) if each.HasField(attributes)]  # type: ignore[arg-type]  # The stubs name each field.


async def unseen_by_its_workflow(stage: Stage, seconds: float) -> Trip:
    """Return a held trip whose worker has gone, so that it sees nothing of what comes."""
    async with stage.worker():
        booking = await held_trip(stage, hold_seconds=seconds)
        await eventually(lambda: numbers_of(booking, "timer_started"))
    return booking


async def test_a_confirm_that_comes_in_the_moment_of_the_expiry_is_carried_out(
    empty_stage: Stage,
) -> None:
    booking = await unseen_by_its_workflow(empty_stage, seconds=2.0)
    (fired,) = await eventually(lambda: numbers_of(booking, "timer_fired"))
    confirming = asyncio.create_task(confirm(booking))
    async with empty_stage.worker():
        await confirming
        assert (await result_of(booking))["status"] == "success"
        (accepted,) = await numbers_of(booking, "workflow_execution_update_accepted")
        assert fired < accepted
        await replay(empty_stage.client, booking)
    assert await empty_stage.held(booking) == list(KINDS)
    assert (await empty_stage.row(booking)).status == "booked"


async def test_nobody_is_told_of_a_confirm_that_temporal_may_lose(stage: Stage) -> None:
    """Temporal keeps a confirm once its workflow task has ended, and not before."""
    booking = await held_trip(stage)
    kept: list[bool] = []

    async def look(call: Call) -> None:
        await call.write()
        if (await stage.row(booking)).confirmed_at is not None:
            kept.append(await numbers_of(booking, "workflow_execution_update_accepted") != [])

    stage.record.when_told = look
    for kind in KINDS:
        stage.breaks("reserve", kind, look)
    await confirm(booking)
    assert (await result_of(booking))["status"] == "success"
    assert kept == [True] * (len(KINDS) + 1)


async def test_a_confirmed_trip_that_is_cancelled_before_its_first_booking_was_confirmed(
    stage: Stage,
) -> None:
    booking = await held_trip(stage)
    gate = stage.breaks("reserve", KINDS[0], Gate())
    await confirm(booking)
    await gate.reached()
    assert (await stage.row(booking)).status == "held"
    await booking.cancel()
    await cancelled(booking)
    await gate.open()
    row = await stage.row(booking)
    assert (row.status, row.confirmed_at is None) == ("cancelled", False)
    assert await stage.held(booking) == []


async def test_a_confirm_and_a_cancel_that_come_together_undo_all(empty_stage: Stage) -> None:
    booking = await unseen_by_its_workflow(empty_stage, seconds=600.0)
    confirming = asyncio.create_task(confirm(booking))
    await booking.cancel()
    async with empty_stage.worker():
        await asyncio.gather(confirming, return_exceptions=True)
        await cancelled(booking)
        await replay(empty_stage.client, booking)
    assert await empty_stage.held(booking) == []
    assert (await empty_stage.row(booking)).status == "cancelled"
    assert await failed_workflow_tasks(booking) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_another_worker_goes_on_with_a_confirm(empty_stage: Stage, kind: Any) -> None:
    booking = await unseen_by_its_workflow(empty_stage, seconds=600.0)
    async with empty_stage.worker():
        gate = empty_stage.breaks("reserve", kind, Gate())
        await confirm(booking)
        await gate.reached()
        await gate.open()
    async with empty_stage.worker():
        assert (await result_of(booking))["status"] == "success"
    assert await empty_stage.held(booking) == list(KINDS)


async def test_a_held_trip_that_is_reset_is_held_on(stage: Stage) -> None:
    booking = await held_trip(stage)
    again = await reset_to(stage.client, booking, -1)
    await eventually(lambda: numbers_of(again, "timer_started"))
    await until_status(stage, booking, "held")
    await confirm(again)
    assert (await result_of(again))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)
    await replay(stage.client, again)


async def reset_to_held(stage: Stage, booking: Trip) -> Trip:
    """Reset a trip to when it began to be held, and return the run that goes on."""
    tasks = await workflow_tasks(booking)
    (timer,) = await numbers_of(booking, "timer_started")
    return await reset_to(stage.client, booking, sum(task < timer for task in tasks) - 1)


async def test_a_trip_that_is_reset_to_before_its_confirm_goes_on_with_it(stage: Stage) -> None:
    """Temporal applies the update again, but too early: the new run is not held yet."""
    booking, gate = await held_trip(stage), stage.breaks("reserve", "hotel", Gate())
    await confirm(booking)
    await gate.reached()
    again = await reset_to_held(stage, booking)
    await gate.open()
    assert (await result_of(again))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)
    await replay(stage.client, again)


async def test_a_booked_trip_that_is_reset_to_before_its_confirm_stays_booked(stage: Stage) -> None:
    booking = await held_trip(stage, hold_seconds=2.0)
    await confirm(booking)
    assert (await result_of(booking))["status"] == "success"
    again = await reset_to_held(stage, booking)
    assert (await result_of(again))["status"] == "success"
    assert await stage.held(booking) == list(KINDS)
    assert (await stage.row(booking)).status == "booked"


async def test_a_trip_is_confirmed_after_its_own_deadline(stage: Stage) -> None:
    booking = await held_trip(stage, policy=replace(IMPATIENT, trip_deadline=4.0))
    await asyncio.sleep(4.1)
    await confirm(booking)
    assert (await result_of(booking))["status"] == "success"


async def test_a_confirmed_trip_has_a_deadline_again(stage: Stage) -> None:
    booking = await held_trip(stage, policy=replace(IMPATIENT, trip_deadline=4.0))
    gate = stage.breaks("reserve", "hotel", Gate())
    await confirm(booking)
    told = await result_of(booking)
    assert told == {"status": "failure", "message": "The trip could not be booked in time"}
    await gate.open()
    assert await stage.held(booking) == []
