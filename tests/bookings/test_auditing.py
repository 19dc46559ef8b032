"""The audit: what the record and Temporal say of open trips differently is found and mended."""

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

import bookings.auditing
import bookings.looking_up
from bookings import BookingNotFound, Bookings, Caller, Finding
from bookings.trips import NEVER_STARTED
from record import Record, RecordedTrip, RecordUnavailable
from record.tables import trips
from shared import KINDS, TASK_QUEUE_NAME, cancellation_id
from tests.api.api_client import JOHN, api_of, body_of
from tests.bookings.test_for_good import start_by_cli, stopped_half_way
from tests.conftest import IMPATIENT
from tests.faults import FaultyRecord, Gate, faulty_worker, refuse_for_good
from tests.trips import delete, eventually

ANYONE = Caller("anyone", operator=True)


@pytest.fixture
def asked(client: Client, record: Record, monkeypatch: pytest.MonkeyPatch) -> Bookings:
    """The bookings, which audit even what is a moment old."""
    monkeypatch.setattr(bookings.auditing, "SETTLED", dt.timedelta(0))
    return Bookings(client, record, IMPATIENT)


def new_trip(**changes: object) -> RecordedTrip:
    user_id = f"john-{uuid.uuid4().hex}"
    trip = RecordedTrip(
        trip_id=user_id,
        owner="anyone",
        request=JOHN,
        status="running",
        workflow_id=user_id,
        accepted_at=dt.datetime.now(dt.UTC),
    )
    return replace(trip, **changes)  # type: ignore[arg-type]  # Each is of its field's type.


async def found_by(asked: Bookings, user_id: str) -> list[Finding]:
    """Audit until something is found of the trip: Temporal's list takes a moment to be right."""

    async def found() -> list[Finding]:
        return [finding for finding in await asked.audit() if finding.user_id == user_id]

    return await eventually(found)


async def test_there_is_nothing_to_find_of_trips_that_run_wait_or_are_over(
    client: Client, asked: Bookings, faults: FaultyRecord
) -> None:
    api = api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)
    await api.book(JOHN)
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = body_of(await api.book(JOHN | {"flight": "invalid-flight-id"}))
    assert stuck["status"] == "needs_attention"
    faults.faults["reserve", "flight"] = gate = Gate()
    await api.book(JOHN, Prefer="respond-async")
    await gate.reached()
    own = {row.trip_id for row in await faults.page(100)}
    assert [finding for finding in await asked.audit() if finding.user_id in own] == []
    await gate.open()


@pytest.mark.parametrize("deleted", [False, True], ids=["terminated", "deleted"])
async def test_a_trip_that_was_ended_from_outside_is_found_and_listed(
    client: Client, asked: Bookings, faults: FaultyRecord, deleted: bool
) -> None:
    user_id = await stopped_half_way(client, api_of(client), faults, f"audited-{deleted}")
    if deleted:
        await delete(client, user_id)
    assert await found_by(asked, user_id) == [Finding(user_id, "running", "needs_attention")]
    (listed,), _ = await asked.page("needs_attention", 10, None, ANYONE)
    assert listed.user_id == user_id
    assert [finding for finding in await asked.audit() if finding.user_id == user_id] == []


async def test_a_trip_that_was_never_started_ends_as_not_booked_and_never_will_be(
    client: Client, asked: Bookings, faults: FaultyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = await faults.accept(new_trip())
    assert [finding for finding in await asked.audit() if finding.user_id == row.trip_id] == []
    monkeypatch.setattr(bookings.looking_up, "START_LIMIT", dt.timedelta(0))
    assert await found_by(asked, row.trip_id) == [Finding(row.trip_id, "running", "rolled_back")]
    # The start was only late: its process was frozen, say.
    assert await asked.start(row)
    await client.get_workflow_handle(row.trip_id).result()
    trip = await asked.look_up(row.trip_id, ANYONE)
    assert (trip.status, trip.reason) == ("rolled_back", NEVER_STARTED)
    held = await faults.reservations_of(row.trip_id)
    assert [each for each in held if each.state == "reserved"] == []


async def test_a_trip_with_a_key_may_be_started_by_its_next_request_until_its_deadline(
    client: Client, record: Record, asked: Bookings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookings.looking_up, "START_LIMIT", dt.timedelta(0))
    row, _ = await record.accept(new_trip(key_fingerprint="of a key"))
    await asked.audit()
    assert (await asked.look_up(row.trip_id, ANYONE)).status == "running"
    overdue = Bookings(client, record, replace(IMPATIENT, trip_deadline=0))
    assert (await overdue.look_up(row.trip_id, ANYONE)).status == "rolled_back"


async def test_a_cancellation_that_was_accepted_and_not_begun_is_begun(
    client: Client, asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = body_of(await api_of(client).book(JOHN))["user_id"]
    await faults.begin_cancellation(user_id)
    assert (await asked.look_up(user_id, ANYONE)).status == "running"
    await asked.audit()
    await client.get_workflow_handle(cancellation_id(user_id)).result()
    assert (await asked.look_up(user_id, ANYONE)).status == "cancelled"
    assert {each.state for each in await faults.reservations_of(user_id)} == {"cancelled"}


async def test_a_trip_of_the_cli_that_no_worker_has_taken_up_is_recorded(
    client: Client, asked: Bookings, record: Record
) -> None:
    user_id = f"cli-{uuid.uuid4().hex}"
    await start_by_cli(client, f"workflow-of-{user_id}", user_id)
    assert await found_by(asked, user_id) == [Finding(user_id, "unknown", "running")]
    # Those that other tests have left running in this Temporal are recorded as well.
    trips, _ = await asked.page(None, 100, None, ANYONE)
    (listed,) = (trip for trip in trips if trip.user_id == user_id)
    assert [step.item for step in listed.steps] == [JOHN[kind] for kind in KINDS]
    async with faulty_worker(client, record):
        await client.get_workflow_handle(f"workflow-of-{user_id}").result()
    assert (await asked.look_up(user_id, ANYONE)).status == "booked"


ODD: list[dict[str, Any]] = [
    {"book_user_id": "half-a-character-\ud800"},
    {"book_user_id": "nul-\0"},
    {"owner": "half-a-character-\ud800"},
]


async def test_a_trip_that_cannot_be_recorded_keeps_the_audit_from_no_other(
    client: Client, asked: Bookings
) -> None:
    odd = [f"odd-{uuid.uuid4().hex}" for _ in ODD]
    for workflow_id, changes in zip(odd, ODD, strict=True):
        await start_by_cli(client, workflow_id, workflow_id, **changes)
    user_id = f"cli-{uuid.uuid4().hex}"
    await start_by_cli(client, user_id, user_id)
    assert await found_by(asked, user_id) == [Finding(user_id, "unknown", "running")]
    for workflow_id in odd[:-1]:
        with pytest.raises(BookingNotFound):
            await asked.look_up(workflow_id, ANYONE)
    for workflow_id in (*odd, user_id):
        await client.get_workflow_handle(workflow_id).terminate()


@workflow.defn(name="BookingWorkflow", sandboxed=False)
class Foreign:
    """Somebody's own workflow of that name."""

    @workflow.run
    async def run(self, _: dict[str, Any]) -> str:
        return "done"


async def test_an_odd_result_keeps_the_audit_from_no_other_trip(
    client: Client, asked: Bookings, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    odd, stopped = (f"{name}-{uuid.uuid4().hex}" for name in ("odd", "stopped"))
    for user_id in (odd, stopped):
        row, _ = await record.accept(new_trip(trip_id=user_id, workflow_id=user_id))
        assert await asked.start(row)
        if user_id == odd:
            async with Worker(client, task_queue=TASK_QUEUE_NAME, workflows=[Foreign]):
                await client.get_workflow_handle(odd).result()
    await client.get_workflow_handle(stopped).terminate()
    assert await found_by(asked, stopped) == [Finding(stopped, "running", "needs_attention")]
    assert f"nothing can be made of {odd}" in caplog.text


async def test_an_outage_ends_the_audit(
    asked: Bookings, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record.accept(new_trip())

    async def away(*_: object) -> None:
        raise RecordUnavailable("away")

    monkeypatch.setattr(record, "trip", away)
    monkeypatch.setattr(bookings.looking_up, "START_LIMIT", dt.timedelta(0))
    monkeypatch.setattr(record, "withdraw", away)
    with pytest.raises(RecordUnavailable):
        await asked.audit()


async def test_what_a_worker_of_an_earlier_version_has_ended_is_recorded(
    client: Client, asked: Bookings, faults: FaultyRecord
) -> None:
    user_id = body_of(await api_of(client).book(JOHN))["user_id"]
    ended = await faults.trip(user_id)
    assert ended is not None
    # As if nobody had told the record.
    await reopen(faults, user_id)
    assert await found_by(asked, user_id) == [Finding(user_id, "running", "booked")]
    again = await faults.trip(user_id)
    assert again is not None
    assert (again.steps, again.status) == (ended.steps, "booked")


async def reopen(record: Record, user_id: str) -> None:
    """Have the record forget how the trip ended."""
    forget = (
        trips.update()
        .where(trips.c.trip_id == user_id)
        .values(status="running", closed_at=None, steps=None, told_at=None)
    )
    await record._write(lambda sql: sql.execute(forget))
