"""Records how each kind of trip ends, for the replay tests: `pytest tests/record_histories.py`.

Record again only when the way that *new* trips run has changed on purpose, and then keep the old
files in a folder of their own for as long as trips of the old kind may be open. It is a pytest file
that pytest collects only when told to: so it has the tests' server, worker and faults.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS, MECHANISM, Kind
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
    workflow_half,
)
from tests.suppliers.script import NO, QUICK, SURE, UNKNOWN, Script, working_with
from tests.trips import (
    Cancellation,
    Trip,
    book_and_cancel_unseen,
    cancelled_steps,
    events,
    eventually,
    reset,
    resolve,
    result_of,
    retry,
    start,
    start_cancellation,
    until,
    until_failed,
    until_stuck,
    workflow_tasks,
)
from tests.workers import work_with
from workflows import BookingWorkflow

HISTORIES = Path(__file__).with_name("histories")

Scenario = Callable[[Client, FaultyRecord], Awaitable[Trip | Cancellation]]


async def booked(client: Client, faults: FaultyRecord) -> Trip:
    booking = await start(client, trip())
    await result_of(booking)
    return booking


async def booked_without_status(client: Client, faults: FaultyRecord) -> Trip:
    booking = await start(client, trip(), with_status=False)
    await result_of(booking)
    return booking


async def booked_by_the_cli(client: Client, faults: FaultyRecord) -> Trip:
    booking = await start(client, trip(accepted=False))
    await result_of(booking)
    return booking


async def failed_by_the_cli(client: Client, faults: FaultyRecord) -> Trip:
    booking = await start(client, trip(accepted=False, book_hotel_id="invalid-hotel-id"))
    await result_of(booking)
    return booking


async def cancelled_while_the_record_is_told(client: Client, faults: FaultyRecord) -> Trip:
    faults.when_told = first = Gate()
    booking = await start(client, trip())
    await first.reached()
    await booking.cancel()
    faults.when_told = second = Gate()
    await second.reached()
    await second.open()
    await cancelled_steps(booking)
    await first.open()
    return booking


async def told_at_the_third_try(client: Client, faults: FaultyRecord) -> Trip:
    faults.when_told = at_first(2, down)
    return await booked(client, faults)


async def overdue_in_a_step(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "hotel"] = gate = Gate()
    late = await start(client, trip(policy=replace(IMPATIENT, trip_deadline=1.0)))
    await result_of(late)
    await gate.open()
    return late


async def reset_when_booked(client: Client, faults: FaultyRecord) -> Trip:
    booking = await booked(client, faults)
    await reset(client, booking, (await workflow_tasks(booking))[1])
    again = client.get_workflow_handle_for(BookingWorkflow.run, booking.id)
    await result_of(again)
    return again


async def failed(client: Client, kind: Kind) -> Trip:
    booking = await start(client, trip(**{f"book_{kind}_id": f"invalid-{kind}-id"}))
    await result_of(booking)
    return booking


def failed_at(kind: Kind) -> Scenario:
    return lambda client, faults: failed(client, kind)


async def retried(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "hotel"] = at_first(2, down)
    return await booked(client, faults)


async def failed_after_all_attempts(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "hotel"] = down
    return await booked(client, faults)


async def failed_at_its_deadline(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "car"] = gate = Gate()
    late = await start(client, trip(policy=replace(IMPATIENT, step_deadline=0.2)))
    await result_of(late)
    await gate.open()
    return late


async def undo_retried(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["cancel", "hotel"] = at_first(2, down)
    return await failed(client, "flight")


async def overdue_at_its_start(client: Client, faults: FaultyRecord) -> Trip:
    late = await start(client, trip(policy=replace(IMPATIENT, trip_deadline=0.01)))
    async with activity_half(client), workflow_half(client):
        await result_of(late)
    return late


async def cancelled_before(client: Client, faults: FaultyRecord) -> Trip:
    cancelled = await start(client, trip())
    await cancelled.cancel()
    async with activity_half(client), workflow_half(client):
        await cancelled_steps(cancelled)
    return cancelled


def cancelled_during(kind: Kind) -> Scenario:
    async def scenario(client: Client, faults: FaultyRecord) -> Trip:
        faults.faults["reserve", kind] = gate = Gate()
        cancelled = await start(client, trip())
        await gate.reached()
        await cancelled.cancel()
        await cancelled_steps(cancelled)
        await gate.open()
        return cancelled

    return scenario


def cancelled_after(kind: Kind) -> Scenario:
    async def scenario(client: Client, faults: FaultyRecord) -> Trip:
        async with activity_half(client):
            cancelled = await start(client, trip())
            await book_and_cancel_unseen(client, faults, cancelled, kind, "answer")
            async with workflow_half(client):
                await cancelled_steps(cancelled)
        return cancelled

    return scenario


async def cancelled_between_tries(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "hotel"] = down
    policy = replace(
        IMPATIENT, retry_interval=600.0, retry_interval_cap=600.0, step_deadline=3600.0
    )
    cancelled = await start(client, trip(policy=policy))
    await until_failed(cancelled, tries=1)
    await cancelled.cancel()
    await cancelled_steps(cancelled)
    return cancelled


async def cancelled_in_undo(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["cancel", "hotel"] = gate = Gate()
    cancelled = await start(client, trip(book_flight_id="invalid-flight-id"))
    await gate.reached()
    await cancelled.cancel()
    await gate.open()
    await cancelled_steps(cancelled)
    return cancelled


async def stuck(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["cancel", "hotel"] = refuse_for_good
    booking = await start(client, trip(book_flight_id="invalid-flight-id"))
    await until_stuck(booking, "hotel")
    return booking


async def stuck_and_resolved(client: Client, faults: FaultyRecord) -> Trip:
    booking = await stuck(client, faults)
    await resolve(booking, "hotel", "settled")
    await result_of(booking)
    return booking


async def stuck_and_retried(client: Client, faults: FaultyRecord) -> Trip:
    booking = await stuck(client, faults)
    del faults.faults["cancel", "hotel"]
    await retry(booking, "hotel")
    await result_of(booking)
    return booking


async def stuck_and_retried_by_itself(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["cancel", "hotel"] = at_first(IMPATIENT.undo_attempts, down)
    policy = replace(IMPATIENT, stuck_retry_interval=0.05)
    booking = await start(client, trip(book_flight_id="invalid-flight-id", policy=policy))
    await result_of(booking)
    return booking


async def stuck_and_cancelled(client: Client, faults: FaultyRecord) -> Trip:
    booking = await stuck(client, faults)
    await booking.cancel()
    await resolve(booking, "hotel", "settled")
    await cancelled_steps(booking)
    return booking


async def lost_with_its_worker(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["reserve", "hotel"] = gate = Gate()
    async with workflow_half(client):
        async with activity_half(client):
            booking = await start(client, trip(attempts=1))
            await gate.reached()
        await gate.open()
        async with activity_half(client):
            await result_of(booking)
    return booking


async def unread(client: Client, mechanism: int = MECHANISM) -> Trip:
    """A trip whose first try a worker cannot read; its key comes when that has been told."""
    encrypted = with_keys(client, "new")
    policy = replace(IMPATIENT, mechanism=mechanism)
    booking = await start(encrypted, trip(attempts=1, policy=policy))
    async with workflow_half(encrypted):
        async with activity_half(client):
            await until_unread(booking)
        async with activity_half(encrypted):
            await result_of(booking)
    return booking


async def until_unread(booking: Trip) -> None:
    async def told() -> bool:
        return any(
            event.HasField("activity_task_failed_event_attributes")
            for event in await events(booking)
        )

    await eventually(told)


async def cancelled_after_booking(client: Client, faults: FaultyRecord) -> Cancellation:
    booking = await booked(client, faults)
    cancellation = await start_cancellation(client, trip(book_user_id=booking.id))
    await result_of(cancellation)
    return cancellation


async def stuck_twice(client: Client, faults: FaultyRecord) -> Trip:
    for kind in ("hotel", "car"):
        faults.faults["cancel", kind] = refuse_for_good
    booking = await start(client, trip(book_flight_id="invalid-flight-id"))
    await until_stuck(booking, "hotel", "car")
    return booking


def repaired(*repairs: tuple[Kind, Literal["retry", "resolve"]], cancel: bool = False) -> Scenario:
    """Return a trip with two stuck undos that are repaired in this order."""

    async def scenario(client: Client, faults: FaultyRecord) -> Trip:
        booking = await stuck_twice(client, faults)
        if cancel:
            await booking.cancel()
        for kind, repair in repairs:
            if repair == "resolve":
                await resolve(booking, kind, "settled")
            else:
                del faults.faults["cancel", kind]
                await retry(booking, kind)
                await until_settled(booking, kind, last=kind == repairs[-1][0])
        await (cancelled_steps if cancel else result_of)(booking)
        return booking

    return scenario


async def until_settled(booking: Trip, kind: Kind, *, last: bool) -> None:
    """Wait for a retried undo to succeed; the last one closes the trip."""
    if not last:
        await until(booking, lambda steps: steps[kind].state == "undone")


async def stuck_twice_and_retried_by_itself(client: Client, faults: FaultyRecord) -> Trip:
    for kind in ("hotel", "car"):
        faults.faults["cancel", kind] = at_first(IMPATIENT.undo_attempts + 1, down)
    policy = replace(IMPATIENT, stuck_retry_interval=0.05)
    booking = await start(client, trip(book_flight_id="invalid-flight-id", policy=policy))
    await result_of(booking)
    return booking


async def cancelled_while_one_is_stuck(client: Client, faults: FaultyRecord) -> Trip:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = gate = Gate()
    booking = await start(client, trip(book_flight_id="invalid-flight-id"))
    await gate.reached()
    await booking.cancel()
    await gate.open()
    await until_stuck(booking, "hotel")
    await resolve(booking, "hotel", "settled")
    await cancelled_steps(booking)
    return booking


async def cancellation_stuck_twice(client: Client, faults: FaultyRecord) -> Cancellation:
    booking = await booked(client, faults)
    for kind in ("flight", "car"):
        faults.faults["cancel", kind] = refuse_for_good
    cancellation = await start_cancellation(client, trip(book_user_id=booking.id))
    await until_stuck(cancellation, "flight", "car")
    await resolve(cancellation, "car", "settled")
    del faults.faults["cancel", "flight"]
    await retry(cancellation, "flight")
    await result_of(cancellation)
    return cancellation


SCENARIOS: dict[str, Scenario] = {
    "booked": booked,
    "booked_without_status": booked_without_status,
    **{f"failed_at_{kind}": failed_at(kind) for kind in KINDS},
    "booked_by_the_cli": booked_by_the_cli,
    "failed_by_the_cli": failed_by_the_cli,
    "cancelled_while_the_record_is_told": cancelled_while_the_record_is_told,
    "told_at_the_third_try": told_at_the_third_try,
    "overdue_in_a_step": overdue_in_a_step,
    "reset_when_booked": reset_when_booked,
    "retried": retried,
    "failed_after_all_attempts": failed_after_all_attempts,
    "failed_at_its_deadline": failed_at_its_deadline,
    "undo_retried": undo_retried,
    **{f"cancelled_during_{kind}": cancelled_during(kind) for kind in KINDS},
    "cancelled_between_tries": cancelled_between_tries,
    "cancelled_in_undo": cancelled_in_undo,
    "stuck_and_resolved": stuck_and_resolved,
    "stuck_and_retried": stuck_and_retried,
    "stuck_and_retried_by_itself": stuck_and_retried_by_itself,
    "stuck_and_cancelled": stuck_and_cancelled,
    "cancelled_after_booking": cancelled_after_booking,
    "stuck_twice_resolved": repaired(("hotel", "resolve"), ("car", "resolve")),
    "stuck_twice_resolved_in_reverse": repaired(("car", "resolve"), ("hotel", "resolve")),
    "stuck_twice_retried": repaired(("hotel", "retry"), ("car", "retry")),
    "stuck_twice_retried_in_reverse": repaired(("car", "retry"), ("hotel", "retry")),
    "stuck_twice_retried_and_resolved": repaired(("car", "retry"), ("hotel", "resolve")),
    "stuck_twice_resolved_and_retried": repaired(("car", "resolve"), ("hotel", "retry")),
    "stuck_twice_and_cancelled": repaired(("car", "resolve"), ("hotel", "retry"), cancel=True),
    "stuck_twice_and_retried_by_itself": stuck_twice_and_retried_by_itself,
    "cancelled_while_one_is_stuck": cancelled_while_one_is_stuck,
    "cancellation_stuck_twice": cancellation_stuck_twice,
}
"""The endings that happen under a running worker."""

UNATTENDED: dict[str, Scenario] = {
    "cancelled_before": cancelled_before,
    "overdue_at_its_start": overdue_at_its_start,
    **{f"cancelled_after_{kind}": cancelled_after(kind) for kind in KINDS},
    "lost_with_its_worker": lost_with_its_worker,
}
"""The endings that need a worker to be away for a moment."""


async def decided_late(client: Client, hotels: Script) -> Trip:
    hotels.says(UNKNOWN, None, None, QUICK)
    return await booked_at(client)


async def pending_and_booked(client: Client, hotels: Script) -> Trip:
    hotels.says(Pending(0.01), Pending(0.01), QUICK)
    return await booked_at(client, attempts=1)


async def pending_and_cancelled(client: Client, hotels: Script) -> Trip:
    hotels.says(Pending(3600), Pending(), SURE)
    booking = await start(client, trip())
    await until(
        booking, lambda steps: (steps["hotel"].state, steps["hotel"].attempts) == ("booking", 0)
    )
    await booking.cancel()
    await cancelled_steps(booking)
    return booking


async def undone_late(client: Client, hotels: Script) -> Trip:
    hotels.says(UNKNOWN, None, None, QUICK, SURE)
    return await booked_at(client, attempts=1)


async def undone_late_and_stuck(client: Client, hotels: Script) -> Trip:
    hotels.says(QUICK, QUICK, Pending(0.01), QUICK, NO)
    booking = await start(client, trip(book_flight_id="invalid-flight-id"))
    await until_stuck(booking, "hotel")
    hotels.says(QUICK, Pending(0.01), QUICK, SURE)
    await retry(booking, "hotel")
    await result_of(booking)
    return booking


async def booked_at(client: Client, attempts: int = 3) -> Trip:
    booking = await start(client, trip(attempts=attempts))
    await result_of(booking)
    return booking


AT_SUPPLIERS: dict[str, Callable[[Client, Script], Awaitable[Trip]]] = {
    "decided_late": decided_late,
    "pending_and_booked": pending_and_booked,
    "pending_and_cancelled": pending_and_cancelled,
    "undone_late": undone_late,
    "undone_late_and_stuck": undone_late_and_stuck,
}
"""The endings at a supplier that is somebody else's service."""


ENCRYPTED = ("failed_at_hotel", "cancelled_in_undo", "stuck_and_resolved")
"""Those of the endings that are recorded with encryption, too, by a key of the tests."""


@pytest.mark.parametrize("name", SCENARIOS)
async def test_record(client: Client, record: Record, name: str) -> None:
    async with faulty_worker(client, record) as faults:
        await write(client, name, await SCENARIOS[name](client, faults))


@pytest.mark.parametrize("name", ENCRYPTED)
async def test_record_encrypted(client: Client, record: Record, name: str) -> None:
    encrypted = with_keys(client, "new")
    async with faulty_worker(encrypted, record) as faults:
        closed = await SCENARIOS[name](encrypted, faults)
        await write(client, f"encrypted/{name}", closed)


async def test_record_unread(client: Client, record: Record) -> None:
    work_with(record)
    await write(client, "encrypted/unread", await unread(client))


async def test_record_unread_by_the_second_mechanism(client: Client, record: Record) -> None:
    """It took that for the supplier's failure; such trips may still be open."""
    work_with(record)
    await write(client, "second_mechanism/unread", await unread(client, mechanism=2))


@pytest.mark.parametrize("name", UNATTENDED)
async def test_record_unattended(client: Client, record: Record, name: str) -> None:
    faults = FaultyRecord(record)
    work_with(faults)
    await write(client, name, await UNATTENDED[name](client, faults))


@pytest.mark.parametrize("name", AT_SUPPLIERS)
async def test_record_at_suppliers(client: Client, record: Record, name: str) -> None:
    async with working_with(client, record, late=60) as hotels:
        await write(client, name, await AT_SUPPLIERS[name](client, hotels))


async def write(client: Client, name: str, closed: Trip | Cancellation) -> None:
    """Write the history of a closed workflow, one event a line, without what names this machine."""
    text = (await closed.fetch_history()).to_json().replace(client.identity, "recorder")
    history = json.loads(text, object_hook=without_stack_trace)
    events = ",\n".join(json.dumps(event, separators=(",", ":")) for event in history["events"])
    file = HISTORIES / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{{"events":[\n{events}\n]}}\n')


def without_stack_trace(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != "stackTrace"}
