"""Records a trip of every shape, for the replay tests: `pytest tests/saga/record_histories.py`.

Record again only when the way that *new* trips run has changed on purpose, and then keep the old
files in a folder of their own for as long as trips of the old kind may be open. It is a pytest file
that pytest collects only when told to: so it has the tests' server, worker and faults.
"""

import datetime as dt
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import Client

from bookings import TripWorkflows
from record import Record, RecordedTrip
from shared import KINDS, Kind, cancellation_id
from suppliers import Pending
from tests.conftest import IMPATIENT, trip
from tests.encrypting import with_keys
from tests.faults import (
    FaultyRecord,
    Gate,
    activity_half,
    at_first,
    down,
    faulty_worker,
    refuse_for_good,
    unavailable,
    workflow_half,
)
from tests.saga.stage import DOOMED, Stage
from tests.suppliers.script import NO, QUICK, SURE, UNKNOWN, Script, working_with
from tests.trips import (
    Cancellation,
    Trip,
    book_and_cancel_unseen,
    cancelled,
    eventually,
    reset_to,
    resolve_undo,
    result_of,
    retry_undo,
    until,
    until_failed,
    until_stuck,
)
from tests.workers import work_with
from workflows import BookingWorkflow, CancelBookingWorkflow

HISTORIES = Path(__file__).with_name("histories")


class Api(Stage):
    """A stage whose trips are accepted, started and cancelled as the API does it."""

    async def start(self, task_timeout: float | None = None, **changes: Any) -> Trip:
        wanted = trip(name="John Doe", owner="shop", **changes)
        row = RecordedTrip(
            trip_id=wanted.book_user_id,
            owner=wanted.owner,
            request=wanted.request,
            status="running",
            workflow_id=wanted.book_user_id,
            accepted_at=dt.datetime.now(dt.UTC),
        )
        workflows = TripWorkflows(self.client, wanted.policy)
        accepted, _ = await self.record.trips.accept(row)
        await workflows.start(accepted)
        return self.client.get_workflow_handle_for(BookingWorkflow.run, row.workflow_id)

    async def cancellation(self, booking: Trip, **changes: Any) -> Cancellation:
        workflows = TripWorkflows(self.client, trip(**changes).policy)
        await workflows.start_cancellation(await self.record.trips.begin_cancellation(booking.id))
        return self.client.get_workflow_handle_for(
            CancelBookingWorkflow.run, cancellation_id(booking.id)
        )

    async def ended(self, **changes: Any) -> Trip:
        """Return a trip that needs nothing to end."""
        booking = await self.start(**changes)
        await result_of(booking)
        return booking


Scenario = Callable[[Api], Awaitable[Trip | Cancellation]]


# Booked, or not


def failed_at(kind: Kind) -> Scenario:
    return lambda stage: stage.ended(**{f"book_{kind}_id": f"invalid-{kind}-id"})


def failing(failures: int) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        stage.breaks("reserve", "hotel", at_first(failures, unavailable))
        return await stage.ended()

    return scenario


def late(kind: Kind, **limits: Any) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        gate = stage.breaks("reserve", kind, Gate())
        booking = await stage.ended(policy=replace(IMPATIENT, **limits))
        await gate.open()
        return booking

    return scenario


async def overdue_at_its_start(stage: Api) -> Trip:
    booking = await stage.start(policy=replace(IMPATIENT, trip_deadline=0.01))
    async with activity_half(stage.client), workflow_half(stage.client):
        await result_of(booking)
    return booking


async def told_at_the_third_try(stage: Api) -> Trip:
    stage.record.when_told = at_first(2, down)
    return await stage.ended()


# By an operator's hand


def by_hand(how: Literal["complete", "fail"]) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        booking, gate = await stage.at_gate("reserve", "hotel")
        activity = stage.client.get_async_activity_handle(
            workflow_id=booking.id, run_id=None, activity_id="book_hotel-1"
        )
        if how == "complete":
            await activity.complete({"confirmation": "HX-1"})
        else:
            await activity.fail(ValueError("The hotel has closed"))
        await result_of(booking)
        await gate.open()
        return booking

    return scenario


# Reset


def reset_at_its_end(task: int, **items: str) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        again = await reset_to(stage.client, await stage.ended(**items), task)
        await result_of(again)
        return again

    return scenario


def reset_past_its_deadline(task: int) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        policy = replace(IMPATIENT, trip_deadline=2.0)
        async with activity_half(stage.client), workflow_half(stage.client):
            booking, gate = await stage.at_gate("reserve", "hotel", policy=policy)
        await gate.open()
        await eventually(lambda: has_no_activity(booking))
        again = await reset_to(stage.client, booking, task)
        async with activity_half(stage.client), workflow_half(stage.client):
            await result_of(again)
        return again

    return scenario


async def has_no_activity(booking: Trip) -> bool:
    return not (await booking.describe()).raw_description.pending_activities


async def reset_and_cancelled(stage: Api) -> Trip:
    booking = await stage.ended()
    gate = stage.breaks("reserve", "hotel", Gate())
    again = await reset_to(stage.client, booking, 1)
    await gate.reached()
    await again.cancel()
    await cancelled(again)
    await gate.open()
    return again


# Cancelled


async def cancelled_before(stage: Api) -> Trip:
    booking = await stage.start()
    await booking.cancel()
    async with activity_half(stage.client), workflow_half(stage.client):
        await cancelled(booking)
    return booking


def cancelled_during(kind: Kind) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        booking, gate = await stage.at_gate("reserve", kind)
        await booking.cancel()
        await cancelled(booking)
        await gate.open()
        return booking

    return scenario


def cancelled_after(kind: Kind) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        async with activity_half(stage.client):
            booking = await stage.start()
            await book_and_cancel_unseen(stage.client, stage.record, booking, kind, "answer")
            async with workflow_half(stage.client):
                await cancelled(booking)
        return booking

    return scenario


async def cancelled_between_tries(stage: Api) -> Trip:
    stage.breaks("reserve", "hotel", unavailable)
    policy = replace(IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0)
    booking = await stage.start(policy=replace(policy, step_deadline=3600.0))
    await until_failed(booking, tries=1)
    await booking.cancel()
    await cancelled(booking)
    return booking


async def cancelled_in_undo(stage: Api) -> Trip:
    booking, gate = await stage.at_gate("cancel", "hotel", **DOOMED)
    await booking.cancel()
    await gate.open()
    await cancelled(booking)
    return booking


async def cancelled_while_the_record_is_told(stage: Api) -> Trip:
    stage.record.when_told = first = Gate()
    booking = await stage.start()
    await first.reached()
    await booking.cancel()
    stage.record.when_told = second = Gate()
    await second.reached()
    await second.open()
    await cancelled(booking)
    await first.open()
    return booking


async def cancelled_after_booking(stage: Api) -> Cancellation:
    cancellation = await stage.cancellation(await stage.booked())
    await result_of(cancellation)
    return cancellation


# With an undo that takes its time, or is stuck


async def undo_retried(stage: Api) -> Trip:
    stage.breaks("cancel", "hotel", at_first(2, unavailable))
    return await stage.ended(**DOOMED)


async def undo_out_of_time(stage: Api) -> Cancellation:
    gate = stage.breaks("cancel", "hotel", Gate())
    policy = replace(IMPATIENT, step_deadline=0.3, trip_deadline=0.5)
    cancellation = await stage.cancellation(await stage.booked(), policy=policy)
    await until_stuck(cancellation, "hotel")
    await resolve_undo(cancellation, "hotel", "settled")
    await result_of(cancellation)
    await gate.open()
    return cancellation


def repaired(*repairs: tuple[Kind, Literal["retry", "resolve"]], cancel: bool = False) -> Scenario:
    """Return a trip with stuck undos that are repaired in this order."""

    async def scenario(stage: Api) -> Trip:
        booking = await stage.stuck(*(kind for kind, _ in repairs))
        if cancel:
            await booking.cancel()
        for kind, repair in repairs:
            if repair == "resolve":
                await resolve_undo(booking, kind, "settled")
                continue
            del stage.record.faults["cancel", kind]
            await retry_undo(booking, kind)
            if kind != repairs[-1][0]:
                await until(booking, lambda steps, kind=kind: steps[kind] == "undone")  # type: ignore[misc]  # A default is no part of the type.
        await (cancelled if cancel else result_of)(booking)
        return booking

    return scenario


def retried_by_itself(*kinds: Kind) -> Scenario:
    async def scenario(stage: Api) -> Trip:
        for kind in kinds:
            stage.breaks("cancel", kind, at_first(IMPATIENT.undo_attempts + 1, unavailable))
        return await stage.ended(policy=replace(IMPATIENT, stuck_retry_interval=0.05), **DOOMED)

    return scenario


async def cancelled_while_one_is_stuck(stage: Api) -> Trip:
    stage.breaks("cancel", "hotel", refuse_for_good)
    booking, gate = await stage.at_gate("cancel", "car", **DOOMED)
    await booking.cancel()
    await gate.open()
    await until_stuck(booking, "hotel")
    await resolve_undo(booking, "hotel", "settled")
    await cancelled(booking)
    return booking


async def cancellation_stuck_twice(stage: Api) -> Cancellation:
    booking = await stage.booked()
    for kind in ("flight", "car"):
        stage.breaks("cancel", kind, refuse_for_good)
    cancellation = await stage.cancellation(booking)
    await until_stuck(cancellation, "flight", "car")
    await resolve_undo(cancellation, "car", "settled")
    del stage.record.faults["cancel", "flight"]
    await retry_undo(cancellation, "flight")
    await result_of(cancellation)
    return cancellation


ATTENDED: dict[str, Scenario] = {
    "booked": Api.ended,
    **{f"failed_at_{kind}": failed_at(kind) for kind in KINDS},
    "retried": failing(2),
    "failed_after_all_attempts": failing(3),
    "failed_at_its_deadline": late("car", step_deadline=1.5),
    "overdue_in_a_step": late("hotel", trip_deadline=1.5),
    "told_at_the_third_try": told_at_the_third_try,
    "completed_by_hand": by_hand("complete"),
    "failed_by_hand": by_hand("fail"),
    "reset_when_booked": reset_at_its_end(1),
    "reset_to_its_start": reset_at_its_end(0),
    "reset_to_its_end": reset_at_its_end(-1),
    "reset_in_undo": reset_at_its_end(4, **DOOMED),
    "reset_and_cancelled": reset_and_cancelled,
    **{f"cancelled_during_{kind}": cancelled_during(kind) for kind in KINDS},
    "cancelled_between_tries": cancelled_between_tries,
    "cancelled_in_undo": cancelled_in_undo,
    "cancelled_while_the_record_is_told": cancelled_while_the_record_is_told,
    "cancelled_after_booking": cancelled_after_booking,
    "cancelled_while_one_is_stuck": cancelled_while_one_is_stuck,
    "cancellation_stuck_twice": cancellation_stuck_twice,
    "undo_retried": undo_retried,
    "undo_out_of_time": undo_out_of_time,
    "stuck_and_resolved": repaired(("hotel", "resolve")),
    "stuck_and_retried": repaired(("hotel", "retry")),
    "stuck_and_retried_by_itself": retried_by_itself("hotel"),
    "stuck_and_cancelled": repaired(("hotel", "resolve"), cancel=True),
    "stuck_twice_resolved": repaired(("hotel", "resolve"), ("car", "resolve")),
    "stuck_twice_retried": repaired(("hotel", "retry"), ("car", "retry")),
    "stuck_twice_retried_and_resolved": repaired(("car", "retry"), ("hotel", "resolve")),
    "stuck_twice_and_cancelled": repaired(("car", "resolve"), ("hotel", "retry"), cancel=True),
    "stuck_twice_and_retried_by_itself": retried_by_itself("hotel", "car"),
}
"""The shapes that a trip takes under a running worker."""

UNATTENDED: dict[str, Scenario] = {
    "cancelled_before": cancelled_before,
    "overdue_at_its_start": overdue_at_its_start,
    **{f"cancelled_after_{kind}": cancelled_after(kind) for kind in KINDS},
    "reset_past_its_deadline": reset_past_its_deadline(1),
    "reset_to_its_start_past_its_deadline": reset_past_its_deadline(0),
}
"""Those that need a worker to be away for a moment."""


# At a supplier that is somebody else's service


async def decided_late(stage: Api, hotels: Script) -> Trip:
    hotels.says(UNKNOWN, None, None, QUICK)
    return await stage.ended()


async def pending_and_booked(stage: Api, hotels: Script) -> Trip:
    hotels.says(Pending(0.01), Pending(0.01), QUICK)
    return await stage.ended(attempts=1)


async def pending_and_cancelled(stage: Api, hotels: Script) -> Trip:
    hotels.says(Pending(3600), Pending(), SURE)
    booking = await stage.start()
    await until_failed(booking, tries=1)
    await booking.cancel()
    await cancelled(booking)
    return booking


async def undone_late(stage: Api, hotels: Script) -> Trip:
    hotels.says(UNKNOWN, None, None, QUICK, SURE)
    return await stage.ended(attempts=1)


async def undone_late_and_stuck(stage: Api, hotels: Script) -> Trip:
    hotels.says(QUICK, QUICK, Pending(0.01), QUICK, NO)
    booking = await stage.start(**DOOMED)
    await until_stuck(booking, "hotel")
    hotels.says(QUICK, Pending(0.01), QUICK, SURE)
    await retry_undo(booking, "hotel")
    await result_of(booking)
    return booking


AT_SUPPLIERS: dict[str, Callable[[Api, Script], Awaitable[Trip]]] = {
    "decided_late": decided_late,
    "pending_and_booked": pending_and_booked,
    "pending_and_cancelled": pending_and_cancelled,
    "undone_late": undone_late,
    "undone_late_and_stuck": undone_late_and_stuck,
}

ENCRYPTED = ("failed_at_hotel", "stuck_and_resolved")
"""Those that are recorded with encryption, too, by a key of the tests."""

NAMES = [*ATTENDED, *UNATTENDED, *AT_SUPPLIERS, *(f"encrypted/{name}" for name in ENCRYPTED)]


async def play(client: Client, record: Record, name: str) -> Trip | Cancellation:
    """Play a trip of one shape to its end."""
    if name.startswith("encrypted/"):
        return await play(with_keys(client, "new"), record, name.removeprefix("encrypted/"))
    if name in AT_SUPPLIERS:
        async with working_with(client, record, late=60) as hotels:
            return await AT_SUPPLIERS[name](Api(client, FaultyRecord(record)), hotels)
    if name in UNATTENDED:
        work_with(faults := FaultyRecord(record))
        return await UNATTENDED[name](Api(client, faults))
    async with faulty_worker(client, record) as faults:
        return await ATTENDED[name](Api(client, faults))


@pytest.mark.parametrize("name", NAMES)
async def test_record(client: Client, record: Record, name: str) -> None:
    """Write the history of a trip, one event a line, without what names this machine."""
    closed = await play(client, record, name)
    text = (await closed.fetch_history()).to_json().replace(client.identity, "recorder")
    history = json.loads(text, object_hook=without_stack_trace)
    events = ",\n".join(json.dumps(event, separators=(",", ":")) for event in history["events"])
    file = HISTORIES / f"{name}.json"
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(f'{{"events":[\n{events}\n]}}\n')


def without_stack_trace(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != "stackTrace"}
