"""Each kind of fault is found, said in a sentence, and mended or marked; and nothing else is said.

Suppliers are embedded here: what they hold is the record's rows. The others are in
`test_at_suppliers`.
"""

import asyncio
import datetime as dt
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client

from audit import Auditor
from audit.looking import each
from bookings import Bookings, TemporalUnavailable, TripWorkflows
from record import Record, RecordedTrip, RecordUnavailable
from record.tables import reservations, trips
from tests.audit.auditing import (
    audit,
    auditing,
    book,
    change_reservation,
    change_trip,
    execute,
    held,
    said_of,
    trip,
)
from tests.bookings.requests import (
    DESK,
    JOHN,
    SHOP,
    ended,
    half_way,
    new_id,
    new_trip,
    planted,
    stuck,
)
from tests.faults import DEADLINE, FaultyRecord, Gate

NEEDS_ATTENTION = "; it needs attention now."


async def is_undone(asked: Bookings, record: Record, user_id: str) -> bool:
    """Cancel a trip, and tell whether nothing is held for it then."""
    cancelled = await asked.cancel(user_id, DESK, DEADLINE)
    states = (await held(record, user_id)).values()
    return (cancelled.status, set(states)) == ("cancelled", {"cancelled"})


async def test_nothing_is_said_of_trips_that_run_wait_or_are_over(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    booked = await book(asked)
    await planted(faults, "rolled_back")
    await asked.cancel(booked, DESK, DEADLINE)
    await book(asked)
    await stuck(asked, faults)
    gate = Gate()
    await half_way(asked, faults, gate)
    own = [row.trip_id for row in await faults.trips.page(100)]
    assert await said_of(auditor, *own) == []
    await gate.open()


async def test_nothing_is_said_of_trips_that_were_handed_to_another_owner(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    """Temporal goes on to know their old owner."""
    booked = await book(asked)
    gate = Gate()
    running = await half_way(asked, faults, gate)
    assert (await faults.owners.hand_over(SHOP.name, "store"))[0] == 2
    assert (await audit(auditor, everything=True))[1].of(booked, running) == []
    await gate.open()
    for user_id in (booked, running):
        row = await ended(asked, user_id)
        assert (row.owner, row.status) == ("store", "booked")
    assert (await audit(auditor, everything=True))[1].of(booked, running) == []
    assert await is_undone(asked, faults, booked)


async def test_a_trip_that_the_record_lost_comes_back_as_its_old_owners_and_is_handed_over_again(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    await faults.owners.hand_over(SHOP.name, "store")
    await execute(faults, sa.delete(trips).where(trips.c.trip_id == user_id))
    await said_of(auditor, user_id)
    await gate.open()
    assert await faults.owners.besides(["store"]) == [SHOP.name]
    assert (await faults.owners.hand_over(SHOP.name, "store"))[0] == 1
    assert (await trip(faults, user_id)).owner == "store"


async def test_a_trip_that_ended_by_the_record_and_is_still_running_is_said_and_left_alone(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    now = dt.datetime.now(dt.UTC)
    await change_trip(faults, user_id, status="rolled_back", closed_at=now)
    monkeypatch.setattr("audit.comparing.CLOSING", dt.timedelta(0))
    said = ["is recorded as rolled back, but its workflow is still running."]
    for _ in range(2):
        assert await said_of(auditor, user_id) == said
    assert (await trip(faults, user_id)).status == "rolled_back"
    assert (await held(faults, user_id))["car"] == "reserved", "Its workflow acts on it"
    await gate.open()


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_booked_trip_without_its_reservation_is_marked_and_can_be_cancelled(
    auditor: Auditor, asked: Bookings, worker: None, record: Record, is_there: bool
) -> None:
    user_id = await planted(record)
    found = "is recorded as booked, but its hotel is cancelled by the record"
    await change_reservation(record, user_id, "hotel", state="cancelled")
    if not is_there:
        found = "is recorded as booked, but the record has no reservation of its hotel"
        is_it = (reservations.c.trip_id == user_id) & (reservations.c.kind == "hotel")
        await execute(record, sa.delete(reservations).where(is_it))
    assert await said_of(auditor, user_id) == [found + NEEDS_ATTENTION]
    shown = await asked.look_up(user_id, DESK)
    assert (shown.status, shown.reason) == ("needs_attention", f"The trip {found}")
    assert await said_of(auditor, user_id) == []
    assert await is_undone(asked, record, user_id)


async def test_a_mark_on_a_trip_that_was_rolled_back_is_taken_back_with_its_reason(
    auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await planted(faults, "rolled_back")
    rolled_back = await asked.book(
        new_id(), JOHN | {"flight": "invalid-flight"}, SHOP.name, DEADLINE
    )
    for trip_id in (user_id, rolled_back.trip_id):
        assert await faults.trips.mark(await trip(faults, trip_id), "The hotel supplier held it")
        await said_of(auditor, trip_id)
    assert (await trip(faults, rolled_back.trip_id)) == rolled_back
    # Temporal knows nothing of this one, so nobody can tell how it had ended.
    assert (await trip(faults, user_id)).status == "needs_attention"


async def test_a_step_that_an_operator_has_completed_by_hand_is_not_held(
    client: Client, auditor: Auditor, asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = await half_way(asked, faults)
    by_hand = client.get_async_activity_handle(
        workflow_id=user_id, run_id=None, activity_id="book_flight-1"
    )
    await by_hand.complete({"confirmation": "HX-1"})
    shown = await ended(asked, user_id)
    assert (shown.status, {step.state for step in shown.steps}) == ("booked", {"booked"})
    found = "is recorded as booked, but the record has no reservation of its flight"
    assert await said_of(auditor, user_id) == [found + NEEDS_ATTENTION]
    assert await is_undone(asked, faults, user_id)


async def test_what_is_held_for_a_trip_that_has_ended_without_is_cancelled(
    auditor: Auditor, record: Record
) -> None:
    user_id = await planted(record, "rolled_back")
    await change_reservation(record, user_id, "hotel", state="reserved")
    found = "is recorded as rolled back, but its hotel was still held by the record"
    assert await said_of(auditor, user_id) == [f"{found}; that is cancelled now."]
    assert set((await held(record, user_id)).values()) == {"cancelled"}
    assert (await trip(record, user_id)).status == "rolled_back"
    assert await said_of(auditor, user_id) == []


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


async def test_audits_at_once_find_and_mend_once_and_agree(
    client: Client, auditor: Auditor, record: Record
) -> None:
    late, lost = await planted(record, "rolled_back"), await planted(record)
    await change_reservation(record, late, "hotel", state="reserved")
    await change_reservation(record, lost, "hotel", state="cancelled")
    async with AsyncExitStack() as stack:
        auditors = [await stack.enter_async_context(auditing(client, record)) for _ in range(3)]
        audits = await asyncio.gather(*(audit(each) for each in auditors))
    assert any(said.of(late) for _, said in audits)
    assert sum(len(said.of(lost)) for _, said in audits) == 1, "It is marked once"
    assert (await held(record, late))["hotel"] == "cancelled"
    assert (await trip(record, lost)).status == "needs_attention"
    assert await said_of(auditor, late, lost) == []


async def test_a_trip_that_changes_while_it_is_audited_is_not_spoken_of(
    auditor: Auditor, asked: Bookings, worker: None, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await planted(record)
    ask = record.reservations.of_all

    async def cancelled_meanwhile(trip_ids: list[str]) -> object:
        if user_id in trip_ids:
            await asked.cancel(user_id, DESK, DEADLINE)
        return await ask(trip_ids)

    monkeypatch.setattr(record.reservations, "of_all", cancelled_meanwhile)
    assert await said_of(auditor, user_id) == []
    monkeypatch.undo()
    assert (await trip(record, user_id)).status == "cancelled"
    assert await said_of(auditor, user_id) == []


async def test_pages_are_gone_through_to_the_end(
    auditor: Auditor, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.auditor.PAGE", 2)
    monkeypatch.setattr("audit.open_trips.BATCH", 2)
    wrong = [await planted(record) for _ in range(3)]
    for user_id in wrong:
        await change_reservation(record, user_id, "car", state="cancelled")
    stopped = [await planted(record, "running") for _ in range(3)]
    _, said = await audit(auditor)
    all_of_them = [*wrong, *stopped]
    assert [len(said.of(user_id)) for user_id in all_of_them] == [1] * len(all_of_them)


async def test_the_next_audit_compares_what_has_changed_since_and_all_does_all(
    auditor: Auditor, record: Record
) -> None:
    user_id = await planted(record)
    await audit(auditor)
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)
    await change_trip(record, user_id, closed_at=long_ago, told_at=long_ago)
    await change_reservation(record, user_id, "car", state="cancelled")
    assert await said_of(auditor, user_id) == []
    _, said = await audit(auditor, everything=True)
    assert len(said.of(user_id)) == 1


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

    async def ends_first(self: TripWorkflows, row: RecordedTrip) -> WorkflowExecutionInfo | None:
        if row.trip_id == user_id:
            await gate.open()
            await client.get_workflow_handle(user_id).result()
        return await describe(self, row)

    monkeypatch.setattr(TripWorkflows, "running", not_listed_yet)
    monkeypatch.setattr(TripWorkflows, "acting", ends_first)
    assert await said_of(auditor, user_id) == []
    assert (await trip(faults, user_id)).status == "booked"


# A kind that was taken away again


async def booked_with_a_ferry(asked: Bookings, record: Record, supplier: str | None) -> str:
    """Return a booked trip that holds a ferry, of which the service knows nothing any more."""
    user_id = await book(asked)
    row = await trip(record, user_id)
    now = dt.datetime.now(dt.UTC)
    ferry: dict[str, str | None]
    ferry = {"trip_id": user_id, "kind": "ferry", "item": "a-ferry", "state": "reserved"}
    ferry |= {"first_run_id": row.first_run_id, "supplier": supplier}
    at = {"created_at": now, "updated_at": now}
    await execute(record, sa.insert(reservations).values(ferry | at))
    await change_trip(record, user_id, request=row.request | {"ferry": "a-ferry"})
    return user_id


async def test_what_the_record_held_of_a_kind_that_is_gone_is_undone_with_the_trip(
    auditor: Auditor, asked: Bookings, record: Record, worker: None
) -> None:
    user_id = await booked_with_a_ferry(asked, record, None)
    assert await said_of(auditor, user_id) == []
    assert await is_undone(asked, record, user_id)
    assert await said_of(auditor, user_id) == []


async def test_what_a_supplier_may_hold_of_a_kind_that_is_gone_needs_attention_and_is_told(
    auditor: Auditor, asked: Bookings, record: Record, worker: None
) -> None:
    user_id = await booked_with_a_ferry(asked, record, "https://ferrys.example")
    reason = "The ferry may still be held: there is no such step any more"
    for _ in range(2):
        cancelled = await asked.cancel(user_id, DESK, DEADLINE)
        assert (cancelled.status, cancelled.reason) == ("needs_attention", reason)
        assert (await held(record, user_id))["ferry"] == "reserved"
        assert set((await held(record, user_id)).values()) == {"cancelled", "reserved"}
        for _ in range(2):
            assert await said_of(auditor, user_id) == [f"needs attention: {reason}."]
    # As the trip's own undo leaves it, once the kind is there again.
    await change_reservation(record, user_id, "ferry", state="cancelled")
    assert await is_undone(asked, record, user_id)
    assert await said_of(auditor, user_id) == []


@pytest.mark.parametrize(
    ("supplier", "done", "state"),
    [
        (None, "; that is cancelled now.", "cancelled"),
        ("https://ferrys.example", NEEDS_ATTENTION, "reserved"),
    ],
)
async def test_what_an_earlier_version_has_left_of_a_kind_that_is_gone_is_found(
    auditor: Auditor,
    asked: Bookings,
    record: Record,
    worker: None,
    supplier: str | None,
    done: str,
    state: str,
) -> None:
    user_id = await book(asked)
    await asked.cancel(user_id, DESK, DEADLINE)
    left = await booked_with_a_ferry(asked, record, supplier)
    own = (reservations.c.trip_id == left) & (reservations.c.kind == "ferry")
    await execute(record, sa.update(reservations).where(own).values(trip_id=user_id))
    found = "is recorded as cancelled, but its ferry was still held by the record"
    assert await said_of(auditor, user_id) == [f"{found}{done}"]
    assert (await held(record, user_id))["ferry"] == state
