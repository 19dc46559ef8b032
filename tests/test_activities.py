"""The six activities over a real record, without a workflow."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import activities
from record import Record, Reservation
from shared import KINDS, UNDECIDED, BookVacationInput, Kind
from suppliers import (
    Desks,
    OutcomeUnknown,
    OutsideDesk,
    RecordAway,
    SupplierError,
    Unavailable,
    Undecided,
)
from suppliers.tries import LAST_TRY, SupplierFailed, SupplierRefused
from tests.conftest import trip
from tests.suppliers.script import Script
from tests.workers import work_with
from workflows import STEPS

Activity = Callable[..., Awaitable[Any]]

BOOK: dict[Kind, Activity] = {step.kind: step.book for step in STEPS}
UNDO: dict[Kind, Activity] = {step.kind: step.undo for step in STEPS if step.undo}

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _work(record: Record) -> None:
    work_with(record)


async def run(activity: Activity, book_input: BookVacationInput, attempt: int = 1) -> str:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    return await environment.run(activity, book_input)


FIRST_RUN = ActivityEnvironment().info.workflow_run_id
"""An activity that nobody tells its execution takes its workflow's run for it."""


def held(book_input: BookVacationInput, kind: Kind) -> Reservation:
    return Reservation(book_input.book_user_id, kind, f"valid-{kind}-id", "reserved", FIRST_RUN)


def tombstone(book_input: BookVacationInput, kind: Kind, item: str | None) -> Reservation:
    return Reservation(book_input.book_user_id, kind, item, "cancelled", FIRST_RUN)


@each_kind
async def test_however_often_a_step_is_tried_it_is_one_booking(record: Record, kind: Kind) -> None:
    wanted = trip()
    tries = [run(BOOK[kind], wanted, attempt) for attempt in (1, 2)]
    assert await asyncio.gather(*tries) == [f"valid-{kind}-id"] * 2
    assert await run(BOOK[kind], wanted, attempt=3) == f"valid-{kind}-id"
    assert await record.reservations.everything() == [held(wanted, kind)]


@each_kind
async def test_an_invalid_item_is_refused_for_good_in_the_suppliers_words(
    record: Record, kind: Kind
) -> None:
    wanted = trip(**{f"book_{kind}_id": "an-invalid-one"})
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"\AInvalid {kind} booking, rolling back!\Z"
        ) as error:
            await run(BOOK[kind], wanted)
        assert isinstance(error.value, SupplierRefused) and error.value.non_retryable


@each_kind
@pytest.mark.parametrize("booked", [True, False])
async def test_a_late_try_cannot_book_after_its_undo(
    record: Record, kind: Kind, booked: bool
) -> None:
    wanted = trip()
    if booked:
        await run(BOOK[kind], wanted)
    for attempt in (1, 2):
        assert await run(UNDO[kind], wanted, attempt) == f"valid-{kind}-id"
    with pytest.raises(SupplierRefused, match=f"The {kind} of trip .* was undone already"):
        await run(BOOK[kind], wanted, attempt=2)
    item = f"valid-{kind}-id" if booked else None
    assert await record.reservations.everything() == [tombstone(wanted, kind, item)]


async def test_the_hotel_is_down_for_the_first_try_and_books_the_second(
    record: Record,
) -> None:
    work_with(record, hotel_latency_seconds=0.01, hotel_outage_attempts=1)
    wanted = trip()
    heartbeats: list[tuple[object, ...]] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: heartbeats.append(details)
    with pytest.raises(RuntimeError, match=r"\AHotel service is down\. Retrying\.\.\.\Z"):
        await environment.run(activities.book_hotel, wanted)
    assert len(heartbeats) == 1
    assert [row.state for row in await record.reservations.everything()] == ["asked"]
    assert await run(activities.book_hotel, wanted, attempt=2) == "valid-hotel-id"
    assert await record.reservations.everything() == [held(wanted, "hotel")]


@each_kind
async def test_an_outage_of_the_hotel_stops_no_undo_and_no_other_booking(
    record: Record, kind: Kind
) -> None:
    work_with(record, hotel_latency_seconds=3600, hotel_outage_attempts=100)
    async with asyncio.timeout(10):
        await run(UNDO[kind], trip())
        if kind != "hotel":
            await run(BOOK[kind], trip())


@each_kind
async def test_a_record_that_cannot_answer_is_no_failure_of_the_supplier(
    tmp_path: Path, kind: Kind
) -> None:
    async with Record.open(f"sqlite:///{tmp_path}/missing/record.db") as away:
        work_with(away)
        for activity in (BOOK[kind], UNDO[kind]):
            with pytest.raises(ApplicationError, match=r"The record is unavailable\Z") as error:
                await run(activity, trip())
            assert (error.value.type, error.value.non_retryable) == ("RecordAway", False)


def work_with_hotels_that_say(record: Record, answer: Exception) -> None:
    supplier = Script()
    supplier.says(answer)
    hotels: Desks = {"hotel": OutsideDesk("hotel", supplier, record, "hotels.example")}
    work_with(record, hotels)


async def fails(record: Record, answer: Exception, left: float = 600.0) -> ApplicationError:
    """Have a try of the hotel fail so many seconds before its deadline; return its error."""
    work_with_hotels_that_say(record, answer)
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info,
        scheduled_time=environment.info.started_time,
        schedule_to_close_timeout=dt.timedelta(seconds=left),
    )
    with pytest.raises(ApplicationError) as error:
        await environment.run(activities.book_hotel, trip(book_user_id="waiting", attempts=100))
    return error.value


def wait_told(error: ApplicationError) -> float:
    """Return how long Temporal is to wait before the next try."""
    assert error.next_retry_delay is not None
    return error.next_retry_delay.total_seconds()


@pytest.mark.parametrize("answer", [OutcomeUnknown, Unavailable, Undecided])
@pytest.mark.parametrize(
    ("wanted", "left", "told"),
    [
        (20.0, 6000.0, 20.0),
        (36000.0, 6000.0, 6000.0 - LAST_TRY),
        (5999.0, 6000.0, 6000.0 - LAST_TRY),
        # No time is left for a last try: it is for the deadline to end the step.
        (20.0, LAST_TRY / 2, 20.0),
    ],
)
async def test_a_supplier_is_left_alone_as_long_as_it_wants_but_for_a_last_try(
    record: Record,
    answer: Callable[[str, float], SupplierError],
    wanted: float,
    left: float,
    told: float,
) -> None:
    error = await fails(record, answer("The hotel supplier is busy", wanted), left)
    assert error.message == "The hotel supplier is busy"
    # Less what the machine has taken meanwhile.
    assert wait_told(error) == pytest.approx(told, abs=LAST_TRY * 0.8)
    assert error.type == (UNDECIDED if answer is Undecided else "SupplierFailed")
    assert not error.non_retryable


async def test_a_supplier_that_says_nothing_of_a_wait_is_tried_again_ever_more_seldom(
    record: Record,
) -> None:
    waits = [wait_told(await fails(record, OutcomeUnknown("Busy"))) for _ in range(3)]
    assert waits == [0.01, 0.02, 0.02], "The policy's interval, and its cap"


async def test_a_last_failure_is_as_final_as_a_final_word(record: Record) -> None:
    work_with_hotels_that_say(record, Unavailable("Busy"))
    wanted = trip(attempts=2)
    with pytest.raises(SupplierFailed, match=r"\ABusy\Z"):
        await run(activities.book_hotel, wanted)
    for _ in range(2):
        with pytest.raises(SupplierRefused, match=r"\ABusy\Z") as last:
            await run(activities.book_hotel, wanted)
        assert last.value.non_retryable
        # A try that comes later hears the same, whatever its supplier would say.
        work_with(record)


async def test_a_bug_of_a_suppliers_class_is_worth_another_try_and_its_text_stays_in_the_logs(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    error = await fails(record, ValueError("int() of 'Tue, 1 Jan'"))
    assert isinstance(error, SupplierFailed)
    assert str(error) == "The hotel supplier failed"
    assert "int() of 'Tue, 1 Jan'" in caplog.text


async def test_a_try_that_found_the_record_away_costs_nothing(record: Record) -> None:
    assert isinstance(await fails(record, RecordAway("The record is away")), RecordAway)
    (row,) = await record.reservations.everything()
    assert row.failures == 0
