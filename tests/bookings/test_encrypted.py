"""Trips whose payloads are encrypted are booked, shown and undone as all others are.

Where a key is missing nothing is lost. That a worker without it costs no attempt is tested in
`tests/saga/test_tries.py`.
"""

import contextlib
from dataclasses import replace

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from bookings import Bookings
from record import Record
from saga.steps import NO_ANSWER
from shared import KINDS
from tests.bookings.requests import JOHN, SHOP, held, new_id
from tests.conftest import IMPATIENT, trip
from tests.encrypting import with_keys
from tests.faults import DEADLINE, Gate, activity_half, down, faulty_worker, workflow_half
from tests.trips import (
    Trip,
    eventually,
    result_of,
    retry_undo,
    start,
    until,
    until_failed,
)
from tests.workers import running_worker, work_with


async def test_bookings_without_the_key_book_show_and_cancel_what_workers_have_encrypted(
    asked: Bookings, client: Client, record: Record
) -> None:
    async with running_worker(with_keys(client, "new"), record):
        booked = await asked.book(new_id(), JOHN, SHOP.name, DEADLINE)
        assert (booked.status, held(booked)) == ("booked", list(KINDS))
        assert (await asked.cancel(booked.trip_id, SHOP, DEADLINE)).status == "cancelled"


async def test_a_trip_that_began_under_the_old_key_or_none_ends_under_the_new(
    client: Client, record: Record
) -> None:
    in_clear, by_old, rotated = (with_keys(client, *ids) for ids in ((), ("old",), ("new", "old")))
    begun = [await start(each, trip()) for each in (in_clear, by_old)]
    async with faulty_worker(by_old, record) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        await gate.reached(calls=len(begun))
        begun.append(await start(by_old, trip(book_flight_id="invalid-flight-id")))
        faults.faults["reserve", "hotel"] = down
        await until_failed(begun[-1], tries=1)
    await gate.open()
    async with running_worker(rotated, record):
        ends = [await result_of(rotated.get_workflow_handle(each.id)) for each in begun]
    assert [end["status"] for end in ends] == ["success", "success", "failure"]


async def test_a_trip_whose_key_is_lost_can_be_ended_and_undone(
    client: Client, record: Record
) -> None:
    lost, kept = with_keys(client, "old"), with_keys(client, "new")
    asked = Bookings(kept, record, IMPATIENT)
    async with faulty_worker(lost, record) as faults:
        faults.faults["reserve", "flight"] = gate = Gate()
        booking = Bookings(lost, record, IMPATIENT)
        user_id = (await booking.book(new_id(), JOHN, SHOP.name, 0)).trip_id
        await gate.reached()
    assert held(await asked.look_up(user_id, SHOP)) == ["car", "hotel"]
    await kept.get_workflow_handle(user_id).terminate()
    async with running_worker(kept, record):
        undone = await asked.cancel(user_id, SHOP, DEADLINE)
    assert (undone.status, held(undone)) == ("cancelled", [])
    await gate.open()
    assert {row.state for row in await record.reservations.of(user_id)} == {"cancelled"}


async def test_what_no_worker_can_read_ends_by_its_deadline_and_the_undo_waits_for_the_key(
    client: Client, record: Record
) -> None:
    encrypted = with_keys(client, "new")
    overdue = await start(encrypted, trip(policy=replace(IMPATIENT, step_deadline=0.5)))
    work_with(record)
    async with workflow_half(encrypted):
        async with activity_half(client):
            await until(overdue, lambda states: states["car"] in ("undoing", "stuck"))
        async with activity_half(encrypted):
            await eventually(lambda: is_over_once_retried(overdue))
            result = await result_of(overdue)
    assert (result["status"], result["message"]) == ("failure", NO_ANSWER)
    rows = await record.reservations.of(overdue.id)
    assert [(row.kind, row.state) for row in rows] == [("car", "cancelled")]


async def is_over_once_retried(booking: Trip) -> bool:
    """Retry the undo if it is stuck, and tell whether the trip is over."""
    with contextlib.suppress(RPCError):
        await retry_undo(booking, "car")
    return (await booking.describe()).status != WorkflowExecutionStatus.RUNNING
