"""What API and worker count: each trip, try, call and request, once and under the right name."""

import asyncio
import dataclasses
import datetime as dt
import re
import time
import uuid
from types import SimpleNamespace
from typing import cast, get_args

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from record import OPEN, Record
from run_worker import create_worker
from settings import Settings
from shared import KINDS, Kind, TripStatus
from starter import create_app
from suppliers import (
    Confirmed,
    Desk,
    RecordAway,
    Refused,
    Released,
    TryAgain,
    Unavailable,
    Undecided,
    compose,
    composition,
)
from telemetry.metrics import ENDED, TRY_OUTCOMES, WorkerMetrics
from telemetry.tries import MeasuringInterceptor, _outcome_of
from tests.api.api_client import JOHN, Api, body_of
from tests.conftest import trip
from tests.faults import FaultyRecord, Gate, at_first, down
from tests.telemetry.scraping import scrape_registry
from tests.trips import eventually, result_of, start
from tests.workers import work_with
from workflows import BookingWorkflow

EMBEDDED = dict.fromkeys(KINDS, "embedded")

LABELS = ("kind", "action", "outcome")

ENDINGS = "booking_trips_ended_total"


def tries(metrics: WorkerMetrics) -> dict[tuple[str, ...], float]:
    return scrape_registry(metrics.registry).counts("booking_tries_total", *LABELS)


async def test_each_trip_and_each_try_is_counted_once(client: Client, record: Record) -> None:
    """Booked; retried; rolled back; cancelled on its way; cancelled when it was booked."""
    faulty, metrics = FaultyRecord(record), WorkerMetrics(EMBEDDED)
    faults, chosen = faulty.faults, work_with(faulty)
    composition.set(compose(faulty, chosen, metrics.supplier_called))
    settings = Settings(
        retry_interval_seconds=0.01, heartbeat_timeout_seconds=6, book_wait_seconds=30
    )
    app = create_app(client, settings)
    api = Api(app.test_client())
    async with create_worker(client, chosen, [MeasuringInterceptor(metrics)]):
        key = {"Idempotency_Key": uuid.uuid4().hex}
        booked = body_of(await api.book(JOHN, **key))
        assert body_of(await api.book(JOHN, **key)) == booked
        assert (await api.book(JOHN | {"car": "another"}, **key)).status_code == 422
        faults["reserve", "car"] = at_first(1, down)
        assert body_of(await api.book(JOHN))["cancelled"] is False
        assert body_of(await api.book(JOHN | {"flight": "invalid-flight"}))["cancelled"] is True
        del faults["reserve", "car"]
        faults["reserve", "hotel"] = gate = Gate()
        going = await api.book(JOHN, Prefer="respond-async")
        await gate.reached()
        path = going.headers["Location"]
        assert body_of(await api.call("POST", f"{path}/cancel"))["status"] == "cancelled"

        async def heard() -> bool:
            return ("hotel", "book", "cancelled") in tries(metrics)

        # The trip does not wait for its try, which hears of it with its next heartbeat.
        await eventually(heard)
        await gate.open()
        del faults["reserve", "hotel"]
        cancelled = await api.call("POST", f"/bookings/{booked['user_id']}/cancel")
        assert body_of(cancelled)["status"] == "cancelled"

    api_says = await asyncio.to_thread(scrape_registry, app.extensions["metrics"].registry)
    worker_says = scrape_registry(metrics.registry)
    assert api_says.value("booking_trips_accepted_total") == 4
    assert api_says.value("booking_idempotency_key_conflicts_total") == 1
    ended = {("booked",): 2, ("rolled_back",): 1, ("cancelled",): 2}
    assert worker_says.counts("booking_trips_ended_total", "outcome") == ended
    assert worker_says.counts("booking_trip_duration_seconds_count", "outcome") == ended
    further = {(str(kind), "book", "done"): 2 for kind in KINDS[3:]}
    further |= {(str(kind), "undo", "done"): 1 for kind in KINDS[3:]}
    assert (
        tries(metrics)
        == {
            ("car", "book", "done"): 4,
            ("car", "book", "record_away"): 2,
            ("hotel", "book", "done"): 3,
            ("hotel", "book", "cancelled"): 1,
            ("flight", "book", "done"): 2,
            ("flight", "book", "refused"): 1,
            ("flight", "undo", "done"): 2,
            ("hotel", "undo", "done"): 3,
            ("car", "undo", "done"): 3,
        }
        | further
    )
    calls = "booking_supplier_call_duration_seconds_count"
    assert worker_says.value(calls, kind="car", call="book", outcome="unknown") == 2
    labels_told = " ".join(api_says.label_values() | worker_says.label_values())
    assert booked["user_id"] not in labels_told
    assert not re.search("john|valid", labels_told, re.IGNORECASE)


async def test_a_held_trip_ends_once_and_only_what_comes_after_its_confirm_is_timed(
    client: Client, record: Record
) -> None:
    metrics = WorkerMetrics(EMBEDDED)
    chosen = work_with(record)
    composition.set(compose(record, chosen, metrics.supplier_called))
    async with create_worker(client, chosen, [MeasuringInterceptor(metrics)]):
        confirmed = await start(client, trip(hold_seconds=600.0))
        assert (await result_of(await start(client, trip(hold_seconds=1.0))))["status"] == "expired"

        async def is_held() -> bool:
            row = await record.trips.by_id(confirmed.id)
            return row is not None and row.status == "held"

        await eventually(is_held)
        assert scrape_registry(metrics.registry).value(ENDINGS, outcome="booked") == 0
        asked_at = time.monotonic()
        await confirmed.execute_update(BookingWorkflow.confirm)
        await result_of(confirmed)
        seconds = time.monotonic() - asked_at

    says = scrape_registry(metrics.registry)
    assert says.counts(ENDINGS, "outcome") == {("booked",): 1, ("expired",): 1}
    assert says.counts("booking_trip_duration_seconds_count", "outcome") == {("booked",): 1}
    assert says.value("booking_trip_duration_seconds_sum", outcome="booked") < seconds
    done = tries(metrics)
    assert {key: done[key] for key in done if key[1] == "book"} == {
        (str(kind), "book", "done"): 3 for kind in KINDS
    }
    calls = "booking_supplier_call_duration_seconds_count"
    for outcome, count in (("held", 2), ("confirmed", 1)):
        assert says.value(calls, kind="car", call="book", outcome=outcome) == count


def scripted(*answers: Confirmed | Released | Exception) -> Desk:
    """Return a desk that answers one try after the other as it is told."""
    left = iter(answers)

    async def answer(*_: object) -> Confirmed | Released:
        told = next(left)
        if isinstance(told, Exception):
            raise told
        return told

    desk = SimpleNamespace(name="scripted", late=0.0, book=answer, cancel=answer)
    return cast(Desk, desk)


async def test_how_each_try_ended_is_told_apart(client: Client, record: Record) -> None:
    desks: dict[Kind, Desk] = {
        # Booked at last, and undone at the second attempt.
        "car": scripted(
            *(Undecided("Not yet", 0.01), Unavailable("Down"), Confirmed()),
            *(ValueError(), Released()),
        ),
        # The record is away, a bug, and a refusal; its undo has nothing to undo.
        "hotel": scripted(
            *(TryAgain("Later", 0.0), RecordAway("Away"), RuntimeError("A bug"), Refused("No")),
            Released(),
        ),
        "flight": scripted(),
    }
    metrics = WorkerMetrics(EMBEDDED)
    settings = work_with(record, desks)
    async with create_worker(client, settings, [MeasuringInterceptor(metrics)]):
        assert (await result_of(await start(client, trip())))["message"] == "No"
    assert tries(metrics) == {
        ("car", "book", "undecided"): 1,
        ("car", "book", "failed"): 1,
        ("car", "book", "done"): 1,
        ("hotel", "book", "failed"): 2,
        ("hotel", "book", "record_away"): 1,
        ("hotel", "book", "refused"): 1,
        ("hotel", "undo", "done"): 1,
        ("car", "undo", "failed"): 1,
        ("car", "undo", "done"): 1,
    }


async def test_a_try_that_a_stopping_worker_gives_up_is_lost(
    client: Client, record: Record
) -> None:
    faulty = FaultyRecord(record)
    faulty.faults["reserve", "car"] = gate = Gate()
    metrics = WorkerMetrics(EMBEDDED)
    going = None
    async with create_worker(client, work_with(faulty), [MeasuringInterceptor(metrics)]):
        going = await start(client, trip())
        await gate.reached()
    assert tries(metrics) == {("car", "book", "lost"): 1}
    await gate.open()
    await going.terminate()


@pytest.mark.parametrize(
    ("details", "seconds", "cancelled"),
    [
        (ActivityCancellationDetails(cancel_requested=True), 60, True),
        # Temporal does not know of it: its trip is over, or it has timed out.
        (ActivityCancellationDetails(not_found=True), 9, True),
        (ActivityCancellationDetails(not_found=True), 11, False),
        (ActivityCancellationDetails(timed_out=True), 9, False),
        (ActivityCancellationDetails(worker_shutdown=True), 9, False),
    ],
)
def test_a_try_is_lost_unless_its_trip_can_have_given_it_up(
    details: ActivityCancellationDetails, seconds: float, cancelled: bool
) -> None:
    environment = ActivityEnvironment()
    limit = dt.timedelta(seconds=10)
    environment.info = dataclasses.replace(environment.info, heartbeat_timeout=limit)
    environment.cancel(details)
    outcome = environment.run(lambda: _outcome_of(asyncio.CancelledError(), seconds))
    assert outcome == ("cancelled" if cancelled else "lost")


def test_every_count_of_a_worker_begins_at_zero() -> None:
    """What appears with its first event would have no increase by it."""
    suppliers: dict[Kind, str] = {kind: f"{kind}s.example:443" for kind in KINDS}
    scrape = scrape_registry(WorkerMetrics(suppliers).registry)
    begun = {
        tuple(labels[name] for name in ("kind", "supplier", *LABELS[1:]))
        for name, labels, value in scrape.samples()
        if name == "booking_tries_total" and value == 0
    }
    assert begun == {
        (kind, suppliers[kind], action, outcome)
        for kind in KINDS
        for action in ("book", "undo")
        for outcome in TRY_OUTCOMES
    }
    for outcome in ENDED:
        assert scrape.value(ENDINGS, outcome=outcome) == 0
    assert set(ENDED) == set(get_args(TripStatus)) - set(OPEN)
