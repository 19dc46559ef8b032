"""What only Temporal knows of open trips is brought into the record, several times a minute."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

import bookings.settling
from audit import Auditor, Difference, Tally
from audit.open_trips import OpenTrips
from bookings import NEVER_STARTED, STOPPED, Bookings, Settling, TripWorkflows
from record import Record, RecordUnavailable
from shared import KINDS, TASK_QUEUE_NAME, cancellation_id
from tests.audit.auditing import change_trip, trip
from tests.bookings.requests import (
    DESK,
    DOOMED,
    JOHN,
    NO_LAST,
    SHOP,
    begin,
    ended,
    half_way,
    new_id,
    new_trip,
    planted,
    stuck,
)
from tests.conftest import IMPATIENT
from tests.conftest import trip as trip_of
from tests.encrypting import with_keys
from tests.faults import FaultyRecord, Gate, faulty_worker
from tests.trips import events, eventually, reset_to, result_of, start
from tests.workers import running_worker
from workflows import BookingWorkflow


@pytest.fixture
def open_trips(auditor: Auditor) -> OpenTrips:
    return auditor.open_trips


STOPPED_OUTSIDE = [
    "is open by the record, but its workflow was stopped from outside; it needs attention now"
]
NEVER = ["was accepted, but never started; it is recorded as rolled back now"]
RECORDED = ["was running, but not recorded; it is recorded now"]


async def found_by(open_trips: OpenTrips, user_id: str) -> list[str]:
    """Compare until something is found of the trip: Temporal's list takes a moment to be right."""

    async def found() -> list[str]:
        return await of(open_trips, user_id)

    return await eventually(found)


async def of(open_trips: OpenTrips, *user_ids: str) -> list[str]:
    """Compare, and return what is said of these trips: other tests have left trips here."""
    told: list[Difference] = []
    await open_trips.compare(Tally(told.append))
    return [f"{each.found}; {each.done}" for each in told if each.trip_id in user_ids]


@pytest.mark.parametrize("come", [half_way, stuck])
async def test_a_trip_that_was_terminated_is_found_and_listed(
    client: Client,
    open_trips: OpenTrips,
    asked: Bookings,
    faults: FaultyRecord,
    come: Callable[[Bookings, FaultyRecord], Awaitable[str]],
) -> None:
    user_id = await come(asked, faults)
    await client.get_workflow_handle(user_id).terminate()
    assert await found_by(open_trips, user_id) == STOPPED_OUTSIDE
    (listed,), _ = await asked.page("needs_attention", 10, None, DESK)
    assert (listed.trip_id, listed.reason) == (user_id, STOPPED)
    assert await of(open_trips, user_id) == []


async def test_a_trip_whose_workflow_was_deleted_is_found(
    open_trips: OpenTrips, record: Record
) -> None:
    assert await of(open_trips, await planted(record, "running")) == STOPPED_OUTSIDE


async def test_a_trip_that_was_stopped_before_a_worker_took_it_up_is_found(
    client: Client, open_trips: OpenTrips, asked: Bookings
) -> None:
    user_id = await begin(asked)
    await client.get_workflow_handle(user_id).terminate()
    assert await found_by(open_trips, user_id) == STOPPED_OUTSIDE


async def test_a_trip_that_was_never_started_ends_as_not_booked_and_never_will_be(
    client: Client,
    asked: Bookings,
    open_trips: OpenTrips,
    faults: FaultyRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row, _ = await faults.trips.accept(new_trip(new_id()))
    assert await of(open_trips, row.trip_id) == []
    monkeypatch.setattr(bookings.settling, "START_LIMIT", dt.timedelta(0))
    assert await of(open_trips, row.trip_id) == NEVER
    # The start was only late: its process was frozen, say.
    await TripWorkflows(client, IMPATIENT).start(row)
    assert (await client.get_workflow_handle(row.trip_id).result())["status"] == "failure"
    told = await asked.look_up(row.trip_id, DESK)
    assert (told.status, told.reason) == ("rolled_back", NEVER_STARTED)
    assert all(each.state != "reserved" for each in await faults.reservations.of(row.trip_id))


async def test_a_trip_with_a_key_may_be_started_by_its_next_request_until_its_deadline(
    client: Client, record: Record, open_trips: OpenTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookings.settling, "START_LIMIT", dt.timedelta(0))
    row, _ = await record.trips.accept(new_trip(new_id(), key_fingerprint="of a key"))
    assert await of(open_trips, row.trip_id) == []
    workflows = TripWorkflows(client, replace(IMPATIENT, trip_deadline=0))
    overdue = OpenTrips(record, workflows, Settling(record, workflows))
    assert await of(overdue, row.trip_id) == NEVER


async def test_a_cancellation_that_was_accepted_and_not_begun_is_begun(
    client: Client, asked: Bookings, open_trips: OpenTrips, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    await faults.trips.begin_cancellation(user_id)
    assert await of(open_trips, user_id) == []
    await client.get_workflow_handle(cancellation_id(user_id)).result()
    assert (await asked.look_up(user_id, DESK)).status == "cancelled"
    assert {each.state for each in await faults.reservations.of(user_id)} == {"cancelled"}


@pytest.mark.parametrize("booked", [False, True], ids=["while it runs", "once it is booked"])
async def test_a_cancel_that_a_reset_has_forgotten_is_carried_out(
    client: Client, asked: Bookings, open_trips: OpenTrips, record: Record, booked: bool
) -> None:
    gate = Gate()
    async with faulty_worker(client, record) as faults:
        user_id = await half_way(asked, faults, gate)
    await gate.open()
    assert (await asked.cancel(user_id, SHOP, 0)).status == "running"
    own = client.get_workflow_handle_for(BookingWorkflow.run, user_id)
    again = await reset_to(client, own, 0)
    if not booked:
        assert await of(open_trips, user_id) == []
    async with running_worker(client, record):
        if booked:
            assert (await result_of(again))["status"] == "success"
            assert await of(open_trips, user_id) == []
        assert (await ended(asked, user_id)).status == "cancelled"
    assert {each.state for each in await record.reservations.of(user_id)} == {"cancelled"}


async def test_a_cancel_whose_workflow_was_terminated_is_carried_out(
    client: Client, asked: Bookings, open_trips: OpenTrips, faults: FaultyRecord
) -> None:
    gate = Gate()
    user_id = await half_way(asked, faults, gate)
    await asked.cancel(user_id, SHOP, 0)
    await client.get_workflow_handle(user_id).terminate()
    assert await found_by(open_trips, user_id) == STOPPED_OUTSIDE
    await gate.open()
    assert await of(open_trips, user_id) == []
    assert (await ended(asked, user_id)).status == "cancelled"
    assert {each.state for each in await faults.reservations.of(user_id)} == {"cancelled"}


async def test_a_cancel_that_is_under_way_is_not_said_to_be_asked_again(
    client: Client,
    asked: Bookings,
    open_trips: OpenTrips,
    faults: FaultyRecord,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "audit.open_trips")
    booking, undoing = Gate(), Gate()
    faults.faults["cancel", "hotel"] = undoing
    user_id = await half_way(asked, faults, booking)
    await asked.cancel(user_id, SHOP, 0)
    await booking.open()
    await undoing.reached()
    for _ in range(3):
        assert await of(open_trips, user_id) == []
    assert not [line for line in caplog.records if line.name == "audit.open_trips"]
    orders = [
        event
        for event in await events(client.get_workflow_handle(user_id))
        if event.HasField("workflow_execution_cancel_requested_event_attributes")
    ]
    assert len(orders) == 1
    await undoing.open()
    assert (await ended(asked, user_id)).status == "cancelled"


async def test_a_cancellation_that_was_stopped_is_found(
    client: Client, asked: Bookings, open_trips: OpenTrips, faults: FaultyRecord
) -> None:
    user_id = await planted(faults)
    faults.faults["cancel", "flight"] = gate = Gate()
    await asked.cancel(user_id, DESK, 0)
    await gate.reached()
    await client.get_workflow_handle(cancellation_id(user_id)).terminate()
    assert await found_by(open_trips, user_id) == STOPPED_OUTSIDE
    await gate.open()


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [(JOHN, "booked", None), (DOOMED, "rolled_back", NO_LAST)],
    ids=["booked", "rolled back"],
)
async def test_an_ending_that_the_record_has_lost_is_recorded_again(
    asked: Bookings,
    open_trips: OpenTrips,
    record: Record,
    worker: None,
    request_: dict[str, Any],
    status: Any,
    reason: str | None,
) -> None:
    user_id = (await asked.book(new_id(), request_, SHOP.name, 60)).trip_id
    await lose_ending(record, user_id)
    found = "is open by the record, but its workflow has ended; it is recorded as"
    words = status.replace("_", " ")
    assert await found_by(open_trips, user_id) == [f"{found} {words} now"]
    row = await trip(record, user_id)
    assert (row.status, row.reason) == (status, reason)


async def lose_ending(record: Record, user_id: str) -> None:
    await change_trip(
        record, user_id, status="running", closed_at=None, told_at=None, booked_at=None, reason=None
    )


async def test_a_trip_of_the_cli_that_no_worker_has_taken_up_is_recorded(
    client: Client, asked: Bookings, open_trips: OpenTrips, record: Record
) -> None:
    user_id = new_id()
    await start_by_cli(client, f"workflow-of-{user_id}", user_id)
    assert await found_by(open_trips, user_id) == RECORDED
    known = await asked.look_up(user_id, DESK)
    assert [step.item for step in known.steps] == [JOHN[kind] for kind in KINDS]
    assert await of(open_trips, user_id) == []
    async with running_worker(client, record):
        await client.get_workflow_handle(f"workflow-of-{user_id}").result()
    assert (await asked.look_up(user_id, DESK)).status == "booked"


async def test_a_trip_that_was_started_a_moment_ago_by_other_means_is_no_difference(
    client: Client, open_trips: OpenTrips, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.open_trips.ON_ITS_WAY", dt.timedelta(minutes=1))
    started = await start(client, trip_of())

    async def recorded() -> bool:
        assert await of(open_trips, started.id) == []
        return await record.trips.by_id(started.id) is not None

    await eventually(recorded)
    await started.terminate()


async def test_a_trip_whose_start_is_delayed_is_no_difference(
    client: Client, open_trips: OpenTrips, record: Record
) -> None:
    delayed = await start(client, trip_of(), start_delay=dt.timedelta(hours=1))

    async def recorded() -> bool:
        assert await of(open_trips, delayed.id) == []
        return await record.trips.by_id(delayed.id) is not None

    await eventually(recorded)
    assert await of(open_trips, delayed.id) == []
    await delayed.terminate()


async def start_by_cli(client: Client, workflow_id: str, user_id: str, **changes: Any) -> None:
    """Start a trip as `temporal workflow start --input` does: with the tutorial's fields only."""
    items = {f"book_{kind}_id": JOHN[kind] for kind in KINDS}
    await client.start_workflow(
        "BookingWorkflow",
        {"attempts": 5, "book_user_id": user_id, **items, **changes},
        id=workflow_id,
        task_queue=TASK_QUEUE_NAME,
    )


ODD: list[dict[str, Any]] = [
    {"book_user_id": "half-a-character-\ud800"},
    {"book_user_id": "nul-\0"},
    {"owner": "half-a-character-\ud800"},
    {"attempts": "nonsense"},
]


async def test_a_trip_that_cannot_be_recorded_or_read_keeps_the_comparison_from_no_other(
    client: Client, asked: Bookings, open_trips: OpenTrips, caplog: pytest.LogCaptureFixture
) -> None:
    odd = [f"odd-{uuid.uuid4().hex}" for _ in ODD]
    for workflow_id, changes in zip(odd, ODD, strict=True):
        await start_by_cli(client, workflow_id, workflow_id, **changes)
    odd.append((await start(with_keys(client, "new"), trip_of())).id)
    user_id = new_id()
    await start_by_cli(client, user_id, user_id)
    found: list[str] = []

    async def both_are_met() -> bool:
        # Temporal lists a workflow a moment after its start.
        found.extend(await of(open_trips, user_id))
        return found == RECORDED and f"nothing can be made of trip {odd[-1]}" in caplog.text

    await eventually(both_are_met)
    assert "'new', which PAYLOAD_KEYS has not" in caplog.text
    for workflow_id in odd:
        await client.get_workflow_handle(workflow_id).terminate()


async def test_a_trip_that_only_temporal_knows_is_recorded_though_it_is_encrypted(
    client: Client, record: Record
) -> None:
    encrypted = with_keys(client, "new")
    workflows = TripWorkflows(with_keys(client, "old", "new"), IMPATIENT)
    unknown = await start(encrypted, trip_of(name="Ada", owner=SHOP.name))
    await found_by(OpenTrips(record, workflows, Settling(record, workflows)), unknown.id)
    row = await trip(record, unknown.id)
    assert (row.owner, row.request["name"]) == (SHOP.name, "Ada")
    assert [step.item for step in row.steps] == [JOHN[kind] for kind in KINDS]
    await unknown.terminate()


@workflow.defn(name="BookingWorkflow", sandboxed=False)
class Foreign:
    """Somebody's own workflow of that name."""

    @workflow.run
    async def run(self, _: dict[str, Any]) -> str:
        return "done"


async def test_a_result_that_is_no_trips_needs_attention(
    client: Client, open_trips: OpenTrips, asked: Bookings
) -> None:
    user_id = await begin(asked)
    async with Worker(client, task_queue=TASK_QUEUE_NAME, workflows=[Foreign]):
        await client.get_workflow_handle(user_id).result()
    assert await found_by(open_trips, user_id) == STOPPED_OUTSIDE


async def test_it_goes_on_for_ever_and_says_what_it_finds(
    open_trips: OpenTrips,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outages = [ZeroDivisionError("a bug"), RecordUnavailable("The record is away")]
    done = asyncio.Event()

    async def compare(tally: Tally) -> None:
        if outages:
            raise outages.pop()
        tally.note([Difference("first", "stopped", "is open")])
        done.set()

    monkeypatch.setattr("audit.open_trips.INTERVAL", 0.001)
    monkeypatch.setattr(open_trips, "compare", compare)
    running = asyncio.create_task(open_trips.compare_for_ever())
    async with asyncio.timeout(20):
        await done.wait()
    running.cancel()
    for said in ("The record is away", "a bug", "Trip first is open"):
        assert said in caplog.text


async def test_the_longer_it_takes_the_less_often_it_looks(
    open_trips: OpenTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, takes, pauses = 0.0, [0.1, 4.0, 60.0], list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if not takes:
            raise asyncio.CancelledError

    async def compare(_tally: Tally) -> None:
        nonlocal now
        now += takes.pop(0)

    monkeypatch.setattr("audit.open_trips.asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("audit.open_trips.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(open_trips, "compare", compare)
    with pytest.raises(asyncio.CancelledError):
        await open_trips.compare_for_ever()
    assert pauses == pytest.approx([20, 20, 40, 600])
