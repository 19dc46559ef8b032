"""What API and worker count: each trip, try, call and request, once and under the right name."""

import asyncio
import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from record import Record
from run_worker import create_worker
from settings import Settings
from shared import KINDS, BookVacationInput, Kind
from starter import create_app
from suppliers import (
    Confirmed,
    Desk,
    RecordAway,
    Refused,
    Released,
    Try,
    TryAgain,
    Unavailable,
    Undecided,
    compose,
    composition,
)
from telemetry import ApiMetrics
from telemetry.metrics import ENDED, TRY_OUTCOMES, WorkerMetrics
from telemetry.tries import MeasuringInterceptor, _outcome_of
from tests.api.api_client import JOHN, Api, body_of
from tests.conftest import trip
from tests.faults import DEADLINE, FaultyRecord, Gate, at_first, down
from tests.telemetry.scraping import Scrape, scrape_registry
from tests.trips import result_of, start
from tests.workers import work_with

EMBEDDED = dict.fromkeys(KINDS, "embedded")

LABELS = ("kind", "action", "outcome")


@dataclass
class Measured:
    """An API and a worker of one record that may fail, and what they have counted."""

    api: Api
    record: FaultyRecord
    _api_metrics: ApiMetrics
    _worker_metrics: WorkerMetrics

    def of_api(self) -> Scrape:
        return scrape_registry(self._api_metrics.registry)

    def of_worker(self) -> Scrape:
        return scrape_registry(self._worker_metrics.registry)


@pytest.fixture
async def measured(client: Client, record: Record) -> AsyncIterator[Measured]:
    faulty = FaultyRecord(record)
    metrics = WorkerMetrics(EMBEDDED)
    chosen = work_with(faulty)
    composition.set(compose(faulty, chosen, metrics.supplier_called))
    settings = Settings(
        retry_interval_seconds=0.01, heartbeat_timeout_seconds=6, book_wait_seconds=30
    )
    app = create_app(client, settings)
    async with create_worker(client, chosen, [MeasuringInterceptor(metrics)]):
        yield Measured(Api(app.test_client()), faulty, app.extensions["metrics"], metrics)


def tries(scrape: Scrape) -> dict[tuple[str, ...], float]:
    return scrape.counts("booking_tries_total", *LABELS)


async def until_counted(measured: Measured, outcome: tuple[str, ...]) -> None:
    async with asyncio.timeout(DEADLINE):
        while outcome not in tries(measured.of_worker()):
            await asyncio.sleep(0.05)


async def test_each_trip_and_each_try_is_counted_once(measured: Measured) -> None:
    """Booked; retried; rolled back; cancelled on its way; cancelled when it was booked."""
    api, faults = measured.api, measured.record.faults
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
    # The trip does not wait for its try, which hears of it with its next heartbeat.
    await until_counted(measured, ("hotel", "book", "cancelled"))
    await gate.open()
    del faults["reserve", "hotel"]
    cancelled = await api.call("POST", f"/bookings/{booked['user_id']}/cancel")
    assert body_of(cancelled)["status"] == "cancelled"

    api_says, worker_says = measured.of_api(), measured.of_worker()
    assert api_says.value("booking_trips_accepted_total") == 4
    assert api_says.value("booking_idempotency_key_conflicts_total") == 1
    ended = {("booked",): 2, ("rolled_back",): 1, ("cancelled",): 2}
    assert worker_says.counts("booking_trips_ended_total", "outcome") == ended
    assert worker_says.counts("booking_trip_duration_seconds_count", "outcome") == ended
    assert tries(worker_says) == {
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
    labels = ("kind", "call", "outcome")
    calls = worker_says.counts("booking_supplier_call_duration_seconds_count", *labels)
    assert calls == {
        ("car", "book", "confirmed"): 4,
        ("car", "book", "unknown"): 2,
        ("hotel", "book", "confirmed"): 3,
        ("hotel", "book", "unknown"): 1,
        ("flight", "book", "confirmed"): 2,
        ("flight", "book", "refused"): 1,
        ("flight", "cancel", "released"): 2,
        ("hotel", "cancel", "released"): 3,
        ("car", "cancel", "released"): 3,
    }
    labels_told = " ".join(api_says.label_values() | worker_says.label_values())
    assert booked["user_id"] not in labels_told
    assert not re.search("john|valid", labels_told, re.IGNORECASE)


class Scripted:
    """A desk that answers one try after the other as it is told."""

    name = "scripted"
    late = 0.0

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)

    async def book(self, trip: BookVacationInput, tried: Try) -> Confirmed:
        if error := self._answers.pop(0):
            raise error
        return Confirmed()

    async def cancel(self, trip: BookVacationInput, tried: Try) -> Released:
        if error := self._answers.pop(0):
            raise error
        return Released()

    async def find(self, trip: BookVacationInput) -> None: ...

    async def cancel_late_booking(self, trip: BookVacationInput) -> Released:
        return await self.cancel(trip, Try())

    async def close(self) -> None: ...


async def test_how_each_try_ended_is_told_apart(client: Client, record: Record) -> None:
    desks: dict[Kind, Desk] = {
        # Booked at last, and undone at the second attempt.
        "car": Scripted(Undecided("Not yet", 0.01), Unavailable("Down"), None, ValueError(), None),
        # The record is away, a bug, and a refusal; its undo has nothing to undo.
        "hotel": Scripted(
            TryAgain("Later", 0.0), RecordAway("Away"), RuntimeError("A bug"), Refused("No"), None
        ),
        "flight": Scripted(),
    }
    metrics = WorkerMetrics(EMBEDDED)
    settings = work_with(record, desks)
    async with create_worker(client, settings, [MeasuringInterceptor(metrics)]):
        assert (await result_of(await start(client, trip())))["message"] == "No"
    assert tries(scrape_registry(metrics.registry)) == {
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
    assert tries(scrape_registry(metrics.registry)) == {("car", "book", "lost"): 1}
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
        assert scrape.value("booking_trips_ended_total", outcome=outcome) == 0
