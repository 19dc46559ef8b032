"""A look-up tells what is held, what was done and what was tried, and never contradicts itself."""

import asyncio
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client
from temporalio.converter import DataConverter

from bookings import Bookings, Caller
from bookings.pending import show_pending
from record import Record
from saga import failures
from shared import KINDS, MAX_TEXT, Kind, StepProgress
from tests.api.api_client import JOHN, Api, api_of, body_of, until
from tests.bookings.between import Before, client_with
from tests.bookings.test_bookings import NOTE, start
from tests.conftest import IMPATIENT
from tests.faults import (
    FaultyRecord,
    Gate,
    at_first,
    down,
    faulty_worker,
    refuse_for_good,
)

ALL = {kind: JOHN[kind] for kind in KINDS}


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


@pytest.fixture
def patient(client: Client) -> Api:
    """An API whose trips wait so long before each further try that a test sees them wait."""
    return api_of(client, retry_interval_seconds=60, retry_interval_cap_seconds=60)


async def end(client: Client, path: str) -> None:
    await client.get_workflow_handle(path.rpartition("/")[2]).terminate()


def step_in(booking: dict[str, Any], kind: Kind) -> dict[str, Any]:
    return next(step for step in booking["steps"] if step["kind"] == kind)


async def until_step(api: Api, path: str, kind: Kind, **wanted: object) -> dict[str, Any]:
    """Look up until the step of `kind` has the members `wanted`, and return the booking."""
    async with asyncio.timeout(20):
        while True:
            booking = body_of(await api.get(path))
            if step_in(booking, kind).items() >= wanted.items():
                return booking
            await asyncio.sleep(0.02)


# A running step


async def test_a_step_that_waits_for_its_next_try_shows_how_often_and_why(
    patient: Api, faults: FaultyRecord, client: Client
) -> None:
    faults.faults["reserve", "hotel"] = down
    path = await start(patient)
    booking = await until_step(patient, path, "hotel", attempts=2)
    assert step_in(booking, "hotel")["state"] == "booking"
    assert step_in(booking, "hotel")["last_error"] == "The record is down"
    assert (step_in(booking, "car")["attempts"], step_in(booking, "car")["last_error"]) == (1, None)
    await end(client, path)


async def test_an_undo_that_waits_for_its_next_try_shows_how_often_and_why(
    patient: Api, faults: FaultyRecord, client: Client
) -> None:
    faults.faults["cancel", "hotel"] = down
    path = await start(patient, JOHN | {"flight": "invalid-flight-id"})
    booking = await until_step(patient, path, "hotel", undo_attempts=2)
    hotel = step_in(booking, "hotel")
    assert (hotel["state"], hotel["attempts"]) == ("undoing", 1)
    assert hotel["last_error"] == "The record is down"
    assert booking["reservations"] == {kind: ALL[kind] for kind in ("car", "hotel")}
    await end(client, path)


def pending(activity_type: str, attempt: int, failure: Failure | None = None) -> Any:
    info = PendingActivityInfo(attempt=attempt, last_failure=failure)
    info.activity_type.name = activity_type
    return info


def application_failure(error_type: str, message: str) -> Failure:
    failure = Failure(message=message)
    failure.application_failure_info.type = error_type
    return failure


def timed_out() -> Failure:
    failure = Failure(
        message="activity Heartbeat timeout", cause=application_failure("SupplierFailed", "Busy")
    )
    failure.timeout_failure_info.SetInParent()
    return failure


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (application_failure("SupplierFailed", "Busy"), "Busy"),
        (application_failure("BookingRefused", "Full"), "Full"),
        (application_failure("SupplierFailed", "x" * 600), "x" * (MAX_TEXT - 1) + "…"),
        (application_failure("KeyError", "postgresql://me:secret@db"), "The hotel supplier failed"),
        (application_failure(failures.WORKER_SHUTDOWN, "Worker is shutting down"), failures.LOST),
        (timed_out(), failures.LOST),
        (application_failure("", "Failed decoding arguments"), failures.UNREAD),
        (Failure(message="Cancelled at 10.0.0.1"), "The hotel supplier failed"),
    ],
)
async def test_only_words_meant_for_travellers_are_shown(failure: Failure, shown: str) -> None:
    step = StepProgress("hotel", "item", "booking", attempts=1)
    await show_pending([pending("book_hotel", 2, failure)], [step], DataConverter.default)
    assert step.last_error == shown


async def test_tries_before_those_of_the_activity_are_counted() -> None:
    # The workflow counts earlier tries, and the first of an activity that it schedules.
    step = StepProgress("hotel", "item", "booking", attempts=4, last_error="Earlier")
    await show_pending([pending("book_hotel", 3)], [step], DataConverter.default)
    assert (step.attempts, step.undo_attempts, step.last_error) == (6, 0, "Earlier")


async def test_an_activity_that_is_over_by_now_changes_nothing() -> None:
    steps = [StepProgress(kind, "item", "booked", attempts=1) for kind in KINDS]
    steps[0].state = "undoing"
    before = [vars(step).copy() for step in steps]
    activities = [f"book_{kind}" for kind in KINDS]
    await show_pending(
        [pending(name, 5, timed_out()) for name in (*activities, "refuse_late_booking")],
        steps,
        DataConverter.default,
    )
    assert [vars(step) for step in steps] == before


async def test_without_a_worker_the_tries_are_shown_all_the_same(
    client: Client, record: Record, patient: Api
) -> None:
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = down
        path = await start(patient)
        await until_step(patient, path, "hotel", attempts=2)
    booking = body_of(await patient.get(path))
    assert booking["stale"] is True
    assert booking["reservations"] == {"car": ALL["car"]}
    assert (
        step_in(booking, "hotel").items()
        >= {
            "state": "booking",
            "attempts": 2,
            "last_error": "The record is down",
        }.items()
    )
    await end(client, path)


# One consistent answer


async def test_a_trip_that_closes_between_the_two_questions_is_shown_closed(
    client: Client, faults: FaultyRecord, record: Record
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    user_id = (await start(api_of(client))).rpartition("/")[2]
    await gate.reached()

    async def close() -> None:
        await gate.open()
        await client.get_workflow_handle(user_id).result()

    between = Before(close)
    bookings = Bookings(client_with(client, between), record, IMPATIENT)
    trip = await bookings.look_up(user_id, Caller("anyone", operator=True))
    assert (trip.status, trip.stale) == ("booked", False)
    assert trip.closed_at is not None
    assert between.descriptions == 1, "The second answer is the record's"


# A trip that was stopped from outside


async def test_a_stopped_trip_tells_its_steps_itself(
    api: Api, faults: FaultyRecord, client: Client
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = refuse_for_good
    path = await start(api, JOHN | {"flight": "invalid-flight-id"})
    await until(lambda: api.get(path), status="needs_attention")
    await until_step(api, path, "car", state="stuck")
    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    await until_step(api, path, "hotel", state="resolved")
    before = body_of(await api.get(path))
    await end(client, path)
    stopped = body_of(await api.get(path))
    # No history tells of an operator's word.
    assert (stopped["status"], stopped["stale"]) == ("needs_attention", False)
    assert (stopped["steps"], stopped["reservations"]) == (before["steps"], {"car": ALL["car"]})


async def test_without_a_worker_a_stopped_trip_is_told_by_its_history(
    api: Api, client: Client, record: Record
) -> None:
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "flight"] = gate = Gate()
        path = await start(api)
        await gate.reached()
        await end(client, path)
        await gate.open()
    stopped = body_of(await api.get(path))
    # It is over: the record has what the history told, and tells it from now on.
    assert (stopped["status"], stopped["stale"]) == ("needs_attention", False)
    assert body_of(await api.get(path)) == stopped
    # The flight was booked after the stop: no history tells that, the reservations do.
    assert stopped["reservations"] == {kind: ALL[kind] for kind in ("car", "hotel", "flight")}
    assert {step["state"] for step in stopped["steps"][:3]} == {"booked"}
    assert step_in(stopped, "hotel")["attempts"] == 1
    assert step_in(stopped, "hotel")["booking_seconds"] >= 0
    assert step_in(stopped, "flight")["booking_seconds"] is None


async def test_a_trip_that_was_stopped_before_it_began_does_not_hang(
    client: Client, record: Record
) -> None:
    path = await start(api_of(client))
    await end(client, path)
    async with faulty_worker(client, record), asyncio.timeout(10):
        stopped = body_of(await api_of(client).get(path))
    assert (stopped["status"], stopped["reservations"]) == ("needs_attention", {})
    assert {step["state"] for step in stopped["steps"]} == {"pending"}


# A booked trip that is being cancelled


async def test_a_stuck_cancellation_shows_what_is_held_and_what_was_done(
    client: Client, faults: FaultyRecord
) -> None:
    api = api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600, book_wait_seconds=0.1)
    booked_api = api_of(client)
    faults.faults["reserve", "hotel"] = at_first(1, down)
    path = f"/bookings/{body_of(await booked_api.book(JOHN))['user_id']}"
    faults.faults["cancel", "hotel"] = refuse_for_good
    assert (await api.call("POST", f"{path}/cancel")).status_code == 202
    booking = await until_step(api, path, "car", state="undone")
    assert booking["status"] == "needs_attention"
    assert booking["reservations"] == {"hotel": ALL["hotel"]}
    told = [(step["state"], step["attempts"], step["undo_attempts"]) for step in booking["steps"]]
    assert told[:3] == [("undone", 1, 1), ("stuck", 2, 1), ("undone", 1, 1)]
    await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    assert body_of(await api.get(f"{path}?wait=20"))["reservations"] == {}


async def test_while_its_worker_is_away_a_cancellation_shows_what_is_held(
    client: Client, record: Record
) -> None:
    api = api_of(client, book_wait_seconds=0.1)
    async with faulty_worker(client, record) as faults:
        faults.faults["reserve", "hotel"] = at_first(1, down)
        path = f"/bookings/{body_of(await api_of(client).book(JOHN))['user_id']}"
    assert (await api.call("POST", f"{path}/cancel")).status_code == 202
    booking = body_of(await api.get(path))
    assert (booking["status"], booking["stale"]) == ("running", True)
    assert booking["reservations"] == ALL
    assert [step["attempts"] for step in booking["steps"]][:3] == [1, 2, 1]
    assert {step["state"] for step in booking["steps"]} == {"booked"}
    async with faulty_worker(client, record):
        cancelled = body_of(await api.get(f"{path}?wait=20"))
    assert cancelled["status"] == "cancelled"
    for step, before in zip(cancelled["steps"], booking["steps"], strict=True):
        assert step["booking_seconds"] == before["booking_seconds"] is not None
        assert step["undo_seconds"] >= 0
