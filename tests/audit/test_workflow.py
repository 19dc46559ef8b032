"""The audit as a workflow: it says the same as by hand, and survives what happens to workers."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator

import pytest
from temporalio.client import (
    Client,
    ScheduleOverlapPolicy,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.client import ScheduleActionExecutionStartWorkflow as ByWorkflow
from temporalio.common import RetryPolicy
from temporalio.service import RPCError, RPCStatusCode

from audit import (
    AUDIT_QUEUE,
    DIFFERENCES,
    SCHEDULE_ID,
    AuditInput,
    AuditWorkflow,
    Tally,
    keep_schedule,
)
from audit.auditor import FIRST, Auditor, Page, Place
from bookings import Bookings
from record import Audit, Record, RecordUnavailable
from settings import Settings
from tests.audit.auditing import audit_worker, book, change_reservation
from tests.faults import DEADLINE
from tests.trips import eventually
from tests.workers import work_with

Running = WorkflowHandle[AuditWorkflow, Tally]


async def start(client: Client, *, everything: bool = False) -> Running:
    return await client.start_workflow(
        AuditWorkflow.run,
        AuditInput(everything),
        id=f"audit-{uuid.uuid4().hex}",
        task_queue=AUDIT_QUEUE,
    )


async def result_of(running: Running) -> Tally:
    async with asyncio.timeout(DEADLINE):
        return await running.result()


@pytest.fixture
def settings(record: Record) -> Settings:
    """Those of a worker that sees what a test patches in the workflow's module."""
    return work_with(record).model_copy(update={"workflow_sandbox": False})


async def test_it_finds_what_differs_and_the_record_keeps_how_it_went(
    client: Client, asked: Bookings, worker: None, record: Record
) -> None:
    user_id = await book(asked)
    await change_reservation(record, user_id, "hotel", state="cancelled")
    async with audit_worker(client, record, work_with(record)):
        running = await start(client)
        tally = await result_of(running)
    (said,) = [line for line in tally.said if user_id in line]
    assert said.endswith("its hotel is cancelled by the record; it needs attention now.")
    kept = await record.audits.last()
    assert kept is not None
    assert kept.audit_id == running.first_execution_run_id
    found = {kind: tally.differences.get(kind, 0) for kind in DIFFERENCES}
    assert (kept.since, kept.differences) == (kept.began_at - FIRST, found)
    assert kept.trips == tally.trips
    assert kept.ended_at is not None
    assert kept.ended_at > kept.began_at


async def test_it_goes_on_in_another_worker_where_the_first_one_was(
    client: Client, record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.workflow.HEARTBEAT_LIMIT", dt.timedelta(seconds=1))
    monkeypatch.setattr("audit.activities.HEARTBEAT_INTERVAL", 0.2)
    done: list[str] = []
    reached, never = asyncio.Event(), asyncio.Event()
    page = Auditor.page

    async def stops_at_ended(self: Auditor, audit: Audit, place: Place) -> Page:
        done.append(place.stage)
        if place.stage == "ended" and done.count("ended") == 1:
            reached.set()
            await never.wait()
        return await page(self, audit, place)

    monkeypatch.setattr(Auditor, "page", stops_at_ended)
    async with audit_worker(client, record, settings):
        running = await start(client)
        await reached.wait()
    async with audit_worker(client, record, settings):
        await result_of(running)
    assert done == ["open", "ended", "ended", "left", "strangers"]
    kept = await record.audits.last()
    assert kept is not None
    assert kept.audit_id == running.first_execution_run_id


async def test_a_page_that_takes_long_is_not_taken_for_lost(
    client: Client, record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.workflow.HEARTBEAT_LIMIT", dt.timedelta(seconds=0.5))
    monkeypatch.setattr("audit.activities.HEARTBEAT_INTERVAL", 0.1)
    tries: list[str] = []

    async def slow(self: Auditor, audit: Audit, place: Place) -> Page:
        tries.append(place.stage)
        await asyncio.sleep(1.5)
        return Page(Tally(), None)

    monkeypatch.setattr(Auditor, "page", slow)
    async with audit_worker(client, record, settings):
        await result_of(await start(client))
    assert tries == ["open"]


async def test_it_waits_for_the_record_and_for_temporals_neighbours(
    client: Client, record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    page = Auditor.page

    async def away_at_first(self: Auditor, audit: Audit, place: Place) -> Page:
        tries.append(place.stage)
        if tries.count(place.stage) == 1:
            raise RecordUnavailable("away")
        return await page(self, audit, place)

    monkeypatch.setattr(Auditor, "page", away_at_first)
    at_once = RetryPolicy(initial_interval=dt.timedelta(milliseconds=10))
    monkeypatch.setattr("audit.workflow.PATIENCE", at_once)
    async with audit_worker(client, record, settings):
        await result_of(await start(client))
    assert tries == [stage for stage in ("open", "ended", "left", "strangers") for _ in range(2)]


async def test_a_long_audit_goes_on_as_a_new_run_and_sums_up_all(
    client: Client, record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 3

    async def one_trip(self: Auditor, audit: Audit, place: Place) -> Page:
        number = int(place.after_id or 0) + 1
        tally = Tally(trips=1, differences={"not_held": 1}, said=[f"Trip {number} is odd."])
        return Page(tally, Place("ended", str(number), audit.began_at) if number < runs else None)

    monkeypatch.setattr(Auditor, "page", one_trip)
    monkeypatch.setattr("audit.workflow._has_grown", lambda: True)
    async with audit_worker(client, record, settings):
        running = await start(client)
        tally = await result_of(running)
    assert tally == Tally(runs, 0, 0, {"not_held": runs}, [f"Trip {n} is odd." for n in (1, 2, 3)])
    kept = await record.audits.last()
    assert kept is not None
    assert (kept.audit_id, kept.trips) == (running.first_execution_run_id, runs)
    assert (await running.describe()).run_id != running.first_execution_run_id


async def test_a_mistake_in_its_code_ends_it_so_that_others_can_begin(
    client: Client, record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake() -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("audit.workflow._has_grown", mistake)
    async with audit_worker(client, record, settings):
        with pytest.raises(WorkflowFailureError):
            await result_of(await start(client))
    assert await record.audits.last() is None


# The schedule


@pytest.fixture
async def no_schedule(client: Client) -> AsyncIterator[None]:
    yield
    handle = client.get_schedule_handle(SCHEDULE_ID)
    await handle.delete()


async def test_the_schedule_skips_while_an_audit_runs(
    client: Client, record: Record, settings: Settings, no_schedule: None
) -> None:
    await keep_schedule(client, 3_600)
    handle = client.get_schedule_handle(SCHEDULE_ID)
    schedule = (await handle.describe()).schedule
    assert schedule.policy.overlap == ScheduleOverlapPolicy.SKIP
    assert [each.every for each in schedule.spec.intervals] == [dt.timedelta(hours=1)]
    await handle.trigger()

    async def started() -> list[str]:
        actions = (await handle.describe()).info.running_actions
        return [each.workflow_id for each in actions if isinstance(each, ByWorkflow)]

    (workflow_id,) = await eventually(started)
    # Not before: of two that Temporal looks at together it may take both for the same one.
    await handle.trigger()

    async def one_was_skipped() -> bool:
        return (await handle.describe()).info.num_actions_skipped_overlap == 1

    await eventually(one_was_skipped)
    async with audit_worker(client, record, settings):
        await client.get_workflow_handle(workflow_id).result()
    assert await record.audits.last() is not None


async def test_a_schedule_that_is_there_gets_the_new_interval_and_stays_paused(
    client: Client, no_schedule: None
) -> None:
    await keep_schedule(client, 3_600)
    handle = client.get_schedule_handle(SCHEDULE_ID)
    await handle.pause(note="A supplier is being moved")
    await keep_schedule(client, 600)
    schedule = (await handle.describe()).schedule
    assert [each.every for each in schedule.spec.intervals] == [dt.timedelta(minutes=10)]
    assert (schedule.state.paused, schedule.state.note) == (True, "A supplier is being moved")


async def test_a_schedule_that_cannot_be_kept_is_logged_and_no_more(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")

    monkeypatch.setattr(Client, "create_schedule", refused)
    await keep_schedule(client, 3_600)
    assert "The schedule of the audits cannot be kept" in caplog.text
