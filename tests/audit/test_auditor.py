"""Each kind of fault is found, said in a sentence, and mended or marked; and nothing else is said.

Suppliers are embedded here: what they hold is the record's rows. The others are in
`test_at_suppliers`.
"""

import asyncio
import datetime as dt
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import sqlalchemy as sa
from temporalio.client import Client, WorkflowExecutionDescription

from audit import Auditor
from audit.looking import each
from bookings import Bookings, TemporalUnavailable, TripWorkflows
from record import Record, RecordedTrip, RecordUnavailable
from record.tables import reservations
from shared import TASK_QUEUE_NAME
from tests.audit.auditing import (
    audit,
    auditing,
    begin,
    book,
    change_reservation,
    change_trip,
    execute,
    forget_trip,
    half_way,
    held,
    said_of,
    trip,
    working,
)
from tests.bookings.requests import DESK, ended, new_trip, stuck
from tests.conftest import IMPATIENT
from tests.conftest import trip as trip_of
from tests.encrypting import with_keys
from tests.faults import DEADLINE, FaultyRecord, Gate
from tests.trips import delete, eventually

NEEDS_ATTENTION = "; it needs attention now."


async def test_nothing_is_said_of_trips_that_run_wait_or_are_over(
    client: Client, auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    booked = await book(asked)
    await book(asked, flight="invalid-flight-id")
    await asked.cancel(booked, DESK, DEADLINE)
    await stuck(asked, faults)
    gate = Gate()
    await half_way(asked, faults, gate)
    own = {row.trip_id for row in await faults.trips.page(100)}
    said = (await audit(auditor)).said
    assert [line for line in said if line.split()[1] in own] == []
    await gate.open()


async def test_a_trip_that_runs_and_is_not_recorded_is_recorded(
    client: Client, auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    await forget_trip(faults, user_id)

    async def said() -> list[str]:
        return await said_of(auditor, user_id)

    assert await eventually(said) == ["was running, but not recorded; it is recorded now."]
    assert (await trip(faults, user_id)).request["name"] == "John Doe"
    assert await said() == []
    await gate.open()


async def test_a_trip_that_ended_by_the_record_and_is_still_running_is_said_and_left_alone(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    now = dt.datetime.now(dt.UTC)
    await change_trip(faults, user_id, status="rolled_back", closed_at=now)
    assert await said_of(auditor, user_id) == [], "It may be about to close"
    monkeypatch.setattr("audit.comparing.CLOSING", dt.timedelta(0))
    said = ["is recorded as rolled back, but its workflow is still running."]
    assert await said_of(auditor, user_id) == said
    assert await said_of(auditor, user_id) == said
    assert (await trip(faults, user_id)).status == "rolled_back"
    assert (await held(faults, user_id))["car"] == "reserved", "Its workflow acts on it"
    await gate.open()


NOT_HELD = {
    "no row": ("is recorded as booked, but the record has no reservation of its hotel", None),
    "cancelled": (
        "is recorded as booked, but its hotel is cancelled by the record",
        {"state": "cancelled"},
    ),
}


@pytest.mark.parametrize(("found", "values"), NOT_HELD.values(), ids=NOT_HELD)
async def test_a_booked_trip_without_its_reservation_is_marked_and_can_be_cancelled(
    auditor: Auditor,
    asked: Bookings,
    worker: None,
    record: Record,
    found: str,
    values: dict[str, str] | None,
) -> None:
    user_id = await book(asked)
    if values is None:
        is_it = (reservations.c.trip_id == user_id) & (reservations.c.kind == "hotel")
        await execute(record, sa.delete(reservations).where(is_it))
    else:
        await change_reservation(record, user_id, "hotel", **values)
    assert await said_of(auditor, user_id) == [found + NEEDS_ATTENTION]
    shown = await asked.look_up(user_id, DESK)
    assert (shown.status, shown.reason) == ("needs_attention", f"The trip {found}")
    assert await said_of(auditor, user_id) == []
    assert (await asked.cancel(user_id, DESK, DEADLINE)).status == "cancelled"
    assert set((await held(record, user_id)).values()) == {"cancelled"}


async def test_a_step_that_an_operator_has_completed_by_hand_is_not_held(
    client: Client, auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await half_way(asked, faults)
    by_hand = client.get_async_activity_handle(
        workflow_id=user_id, run_id=None, activity_id="book_flight-1"
    )
    await by_hand.complete({"confirmation": "HX-1"})
    await ended(asked, user_id)
    shown = await asked.look_up(user_id, DESK)
    assert (shown.status, {step.state for step in shown.steps}) == ("booked", {"booked"})
    found = "is recorded as booked, but the record has no reservation of its flight"
    assert await said_of(auditor, user_id) == [found + NEEDS_ATTENTION]
    assert (await asked.cancel(user_id, DESK, DEADLINE)).status == "cancelled"
    assert set((await held(faults, user_id)).values()) == {"cancelled"}


async def test_what_is_held_for_a_trip_that_has_ended_without_is_cancelled(
    auditor: Auditor, asked: Bookings, worker: None, record: Record
) -> None:
    user_id = await book(asked, flight="invalid-flight-id")
    await change_reservation(record, user_id, "hotel", state="reserved")
    found = "is recorded as rolled back, but its hotel was still held by the record"
    assert await said_of(auditor, user_id) == [f"{found}; that is cancelled now."]
    assert set((await held(record, user_id)).values()) == {"cancelled"}
    assert (await trip(record, user_id)).status == "rolled_back"
    assert await said_of(auditor, user_id) == []


@pytest.mark.parametrize("remembered", [True, False])
async def test_reservations_of_an_unknown_trip_bring_it_back(
    client: Client,
    auditor: Auditor,
    asked: Bookings,
    worker: None,
    record: Record,
    remembered: bool,
) -> None:
    user_id = await book(asked)
    await forget_trip(record, user_id)
    if not remembered:
        await delete(client, user_id)
    found = "is not recorded, but the record has reservations of it (car, hotel, flight)"
    done = "it is recorded as booked now." if remembered else "it needs attention now."
    assert await said_of(auditor, user_id) == [f"{found}; {done}"]
    row = await trip(record, user_id)
    assert row.status == ("booked" if remembered else "needs_attention")
    assert await said_of(auditor, user_id) == []
    assert (await asked.cancel(user_id, DESK, DEADLINE)).status == "cancelled"
    assert set((await held(record, user_id)).values()) == {"cancelled"}


async def test_a_stranger_that_cannot_be_read_is_logged_and_stops_no_audit(
    client: Client, record: Record, auditor: Auditor, caplog: pytest.LogCaptureFixture
) -> None:
    encrypted = with_keys(client, "new")
    async with working(encrypted, record):
        unread = await book(Bookings(encrypted, record, IMPATIENT))
    async with working(client, record):
        read = await book(Bookings(client, record, IMPATIENT))
    for user_id in (unread, read):
        await forget_trip(record, user_id)
    tally = await audit(auditor)
    about = [line for line in tally.said if line.split()[1] in (unread, read)]
    assert [line.split()[1] for line in about] == [read]
    # Other tests have left trips in this Temporal.
    assert tally.odd >= 1 and tally.not_compared >= 1
    assert f"nothing can be made of trip {unread}" in caplog.text
    assert await record.trips.by_id(unread) is None, "Somebody who has the key may still read it"


@pytest.mark.parametrize("error", [TemporalUnavailable, RecordUnavailable])
async def test_what_concerns_all_trips_is_raised_as_itself(error: type[Exception]) -> None:
    cause = OSError("The line is dead")
    at_work: list[str] = []

    async def away(row: RecordedTrip) -> None:
        at_work.append(row.trip_id)
        while len(at_work) < 2:
            await asyncio.sleep(0)
        raise error("It is away") from cause

    with pytest.raises(error, match="It is away") as raised:
        await each(away, [new_trip("one"), new_trip("another")])
    assert raised.value.__cause__ is cause


async def test_a_trip_past_its_own_deadline_is_said(
    client: Client, auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=5)
    await change_trip(faults, user_id, accepted_at=long_ago)
    # By the policy that the trip was started with: an hour, and some minutes for the undo.
    found = "is still running 5 h 0 min after it was asked for, past its deadline."
    assert await said_of(auditor, user_id) == [found]
    assert (await trip(faults, user_id)).status == "running"
    patient_id = await begin(Bookings(client, faults, replace(IMPATIENT, trip_deadline=80_000)))
    await gate.reached(2)
    await change_trip(faults, patient_id, accepted_at=long_ago)
    assert await said_of(auditor, patient_id) == [], "The settings of today are not the trip's"
    await gate.open()


async def test_audits_at_once_find_and_mend_once_and_agree(
    client: Client, auditor: Auditor, asked: Bookings, worker: None, record: Record
) -> None:
    late, lost = await book(asked, flight="invalid-flight-id"), await book(asked)
    await change_reservation(record, late, "hotel", state="reserved")
    await change_reservation(record, lost, "hotel", state="cancelled")
    async with AsyncExitStack() as stack:
        auditors = [await stack.enter_async_context(auditing(client, record)) for _ in range(3)]
        tallies = await asyncio.gather(*(audit(each) for each in auditors))
    said = [line for tally in tallies for line in tally.said]
    assert any(late in line for line in said)
    assert len([line for line in said if lost in line]) == 1, "It is marked once"
    assert (await held(record, late))["hotel"] == "cancelled"
    assert (await trip(record, lost)).status == "needs_attention"
    assert await said_of(auditor, late) == await said_of(auditor, lost) == []


async def test_a_trip_that_changes_while_it_is_audited_is_not_spoken_of(
    auditor: Auditor, asked: Bookings, worker: None, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await book(asked)
    ask = record.reservations.of_all

    async def cancelled_meanwhile(trip_ids: list[str]) -> object:
        await asked.cancel(user_id, DESK, DEADLINE)
        return await ask(trip_ids)

    monkeypatch.setattr(record.reservations, "of_all", cancelled_meanwhile)
    assert await said_of(auditor, user_id) == []
    monkeypatch.undo()
    assert (await trip(record, user_id)).status == "cancelled"
    assert await said_of(auditor, user_id) == []


async def test_pages_are_gone_through_to_the_end(
    auditor: Auditor, asked: Bookings, worker: None, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.auditor.PAGE", 2)
    monkeypatch.setattr("audit.auditor.SPAN", 2)
    user_ids = [await book(asked) for _ in range(5)]
    for user_id in user_ids:
        await change_reservation(record, user_id, "car", state="cancelled")
    tally = await audit(auditor)
    said = [line.split()[1] for line in tally.said]
    assert sorted(each for each in said if each in user_ids) == sorted(user_ids)


async def test_the_next_audit_compares_what_has_changed_since_and_all_does_all(
    client: Client, auditor: Auditor, asked: Bookings, worker: None, record: Record
) -> None:
    user_id = await book(asked)
    await audit(auditor)
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)
    await change_trip(record, user_id, closed_at=long_ago, told_at=long_ago)
    await change_reservation(record, user_id, "car", state="cancelled")
    assert await said_of(auditor, user_id) == []
    assert any(user_id in line for line in (await audit(auditor, everything=True)).said)


async def test_a_workflow_of_another_id_than_its_trips_is_no_unknown_trip(
    client: Client, auditor: Auditor, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    wanted = trip_of()
    started = await client.start_workflow(
        "BookingWorkflow", wanted, id=f"cli-{wanted.book_user_id}", task_queue=TASK_QUEUE_NAME
    )
    await gate.reached()

    async def listed() -> bool:
        query = f"WorkflowId = '{started.id}' AND ExecutionStatus = 'Running'"
        return [each.id async for each in client.list_workflows(query)] == [started.id]

    await eventually(listed)
    assert await said_of(auditor, wanted.book_user_id) == []
    await gate.open()


async def test_a_trip_that_ends_by_itself_while_it_is_looked_up_has_lost_nothing(
    client: Client,
    auditor: Auditor,
    asked: Bookings,
    faults: FaultyRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    list_running, describe = TripWorkflows.running, TripWorkflows.acting

    async def not_listed_yet(self: TripWorkflows) -> set[str]:
        return await list_running(self) - {user_id}

    async def ends_first(
        self: TripWorkflows, row: RecordedTrip
    ) -> WorkflowExecutionDescription | None:
        if row.trip_id == user_id:
            await gate.open()
            await client.get_workflow_handle(user_id).result()
        return await describe(self, row)

    monkeypatch.setattr(TripWorkflows, "running", not_listed_yet)
    monkeypatch.setattr(TripWorkflows, "acting", ends_first)
    assert await said_of(auditor, user_id) == []
    assert (await trip(faults, user_id)).status == "booked"
