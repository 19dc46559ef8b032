"""The desk before a supplier that is somebody else's: one booking, whatever the supplier answers.

The supplier is a script: what it says, and in which order it is asked, is the test's. The record is
a real one, and the time is the test's.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from typing import Any

import pytest

from record import OutsideReservations, Record, RecordUnavailable
from shared import BookVacationInput, SagaPolicy, TripNews, TripStatus
from suppliers import (
    Confirmed,
    EmbeddedSupplier,
    OutcomeUnknown,
    OutsideDesk,
    Pending,
    RecordAway,
    Refused,
    Released,
    Try,
    TryAgain,
    Unavailable,
    Undecided,
    desk,
)
from tests.suppliers import script
from tests.suppliers.script import DOWN, NO, QUICK, SURE, UNKNOWN, Script

POLICY = SagaPolicy(try_timeout=100, retry_interval=1, step_deadline=600)

LATE = 60.0


NOW = dt.datetime.now(dt.UTC)


def trip(run: str = "first-run") -> BookVacationInput:
    return script.trip(run=run, policy=POLICY)


class Clock:
    """The time, as the desk sees it."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def after(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(desk, "_now", clock)
    return clock


@pytest.fixture
def supplier() -> Script:
    return Script()


@pytest.fixture
def hotels(supplier: Script, record: Record) -> OutsideDesk:
    """The desk of a supplier that keeps to the port."""
    return OutsideDesk("hotel", supplier, record, "hotels.example")


@pytest.fixture
def late_hotels(hotels: OutsideDesk) -> OutsideDesk:
    """The desk of a supplier whose bookings appear late, and that knows no tombstones."""
    return dataclasses.replace(hotels, late=LATE)


async def states(record: Record) -> list[tuple[str, str | None]]:
    return [(row.state, row.reference) for row in await record.reservations.everything()]


# Booking


async def test_what_is_confirmed_is_recorded_with_its_reference_and_where_it_is_held(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK)
    assert await hotels.book(trip(), Try()) == QUICK
    (row,) = await record.reservations.everything()
    assert (row.state, row.item, row.reference) == ("reserved", "a-hotel", "QK7R2M")
    assert (row.supplier, row.over_at, row.first_run_id) == ("hotels.example", None, "first-run")


async def test_a_try_is_noted_before_it_is_sent(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    async def look() -> Confirmed:
        (row,) = await record.reservations.everything()
        assert (row.state, row.supplier) == ("asked", "hotels.example")
        assert row.over_at == clock.now + dt.timedelta(seconds=POLICY.try_timeout)
        return QUICK

    supplier.says(look)
    await hotels.book(trip(), Try())


async def test_what_cannot_be_noted_is_not_sent(
    hotels: OutsideDesk, supplier: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise RecordUnavailable("The record does not answer")

    monkeypatch.setattr(OutsideReservations, "begin_try", away)
    with pytest.raises(RecordAway, match="The record does not answer"):
        await hotels.book(trip(), Try())
    assert supplier.asked == []


async def test_a_booking_that_is_recorded_is_not_asked_for_again(
    hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(QUICK)
    await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book"]


async def test_a_booking_whose_answer_was_lost_is_found(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(UNKNOWN, QUICK)
    with pytest.raises(OutcomeUnknown):
        await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find"]
    assert await states(record) == [("reserved", "QK7R2M")]


async def test_a_booking_that_could_not_be_recorded_is_found(
    hotels: OutsideDesk, supplier: Script, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise RecordUnavailable("The record does not answer")

    supplier.says(QUICK, QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(OutsideReservations, "confirm", away)
        with pytest.raises(RecordAway):
            await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find"]
    assert await states(record) == [("reserved", "QK7R2M")]


async def test_a_supplier_that_keeps_to_the_port_is_sent_the_booking_again_at_once(
    hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(UNKNOWN, None, QUICK)
    with pytest.raises(OutcomeUnknown):
        await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find", "book"]


@pytest.mark.parametrize(
    ("first", "over_after"),
    [(UNKNOWN, LATE), (ValueError("int() of a date"), POLICY.try_timeout + LATE)],
    ids=["unknown", "bug"],
)
async def test_a_late_supplier_is_sent_nothing_again_before_the_time_is_over(
    late_hotels: OutsideDesk, supplier: Script, clock: Clock, first: Exception, over_after: float
) -> None:
    supplier.says(first)
    with pytest.raises(type(first)):
        await late_hotels.book(trip(), Try())
    for _ in range(2):
        supplier.says(None)
        with pytest.raises(Undecided, match="The hotel supplier has not decided yet"):
            await late_hotels.book(trip(), Try())
        clock.after(over_after / 2)
    supplier.says(None, QUICK)
    assert await late_hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find", "find", "find", "book"]


async def test_a_call_that_is_broken_off_is_over_then(
    late_hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    calling = asyncio.Event()

    async def never() -> None:
        calling.set()
        await asyncio.Event().wait()

    supplier.says(never)
    call = asyncio.create_task(late_hotels.book(trip(), Try()))
    await calling.wait()
    supplier.says(None)
    with pytest.raises(Undecided):  # The trip is cancelled, and so is its call, a little later.
        await late_hotels.cancel(trip(), Try())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (row,) = await record.reservations.everything()
    assert (row.state, row.over_at) == ("cancelling", clock.now)


async def test_a_late_booking_is_found_and_not_made_twice(
    late_hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(UNKNOWN, None, QUICK)
    with pytest.raises(OutcomeUnknown):
        await late_hotels.book(trip(), Try())
    with pytest.raises(Undecided):
        await late_hotels.book(trip(), Try())
    assert await late_hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find", "find"]


async def test_a_question_that_fails_while_a_booking_may_appear_costs_no_try(
    late_hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(UNKNOWN, OutcomeUnknown("Busy", 20), QUICK)
    with pytest.raises(OutcomeUnknown):
        await late_hotels.book(trip(), Try())
    with pytest.raises(Undecided) as undecided:
        await late_hotels.book(trip(), Try())
    assert undecided.value.wait == 20
    await late_hotels.book(trip(), Try())


async def test_a_dead_supplier_that_keeps_to_the_port_fails_try_after_try(
    hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(UNKNOWN, UNKNOWN, DOWN)
    for _ in range(3):
        with pytest.raises(TryAgain):
            await hotels.book(trip(), Try())


@pytest.mark.parametrize("known", [NO, DOWN], ids=["refused", "never sent"])
async def test_what_surely_changed_nothing_is_not_waited_for(
    late_hotels: OutsideDesk, supplier: Script, known: Exception
) -> None:
    supplier.says(known, QUICK)
    with pytest.raises(type(known)):
        await late_hotels.book(trip(), Try())
    assert await late_hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "book"]


async def test_what_changed_nothing_says_nothing_of_the_try_before_it(
    hotels: OutsideDesk, late_hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(UNKNOWN, None, DOWN)
    for _ in range(2):
        with pytest.raises(TryAgain):
            await hotels.book(trip(), Try())
    supplier.says(None)
    with pytest.raises(Undecided):
        await late_hotels.book(trip(), Try())


async def test_a_pending_booking_is_asked_for_until_it_is_decided(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    supplier.says(Pending(20), Pending(), OutcomeUnknown("Away"), QUICK)
    waits = []
    for _ in range(3):
        with pytest.raises(Undecided) as undecided:
            await hotels.book(trip(), Try())
        waits.append(undecided.value.wait)
        assert await states(record) == [("pending", None)]
        clock.after(40)
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find", "find", "find"]
    assert waits[0] == 20
    assert waits[1:] == pytest.approx([20, 30], abs=1)


async def test_a_pending_booking_that_is_decided_against_is_refused(
    hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(Pending(), Released())
    with pytest.raises(Undecided):
        await hotels.book(trip(), Try())
    with pytest.raises(Refused):
        await hotels.book(trip(), Try())


async def test_a_pending_booking_that_a_late_supplier_does_not_show_yet_is_not_sent_again(
    late_hotels: OutsideDesk, supplier: Script, clock: Clock
) -> None:
    supplier.says(Pending(), None)
    for _ in range(3):
        with pytest.raises(Undecided):
            await late_hotels.book(trip(), Try())
    assert supplier.asked == ["book", "find", "find"]
    clock.after(LATE)
    supplier.says(None, QUICK)
    assert await late_hotels.book(trip(), Try()) == QUICK


async def test_a_pending_booking_is_cancelled_as_soon_as_an_undo_sees_it(
    late_hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(Pending(), Pending(), SURE)
    with pytest.raises(Undecided):
        await late_hotels.book(trip(), Try())
    await late_hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "find", "cancel"]
    assert await states(record) == [("cancelled", None)]


async def test_a_pending_booking_that_the_supplier_does_not_know_any_more_is_sent_again(
    hotels: OutsideDesk, supplier: Script
) -> None:
    supplier.says(Pending(), None, QUICK)
    with pytest.raises(Undecided):
        await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK


async def test_a_process_that_was_frozen_since_its_note_does_not_send(
    hotels: OutsideDesk, supplier: Script, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = OutsideReservations.begin_try

    async def frozen(*arguments: Any) -> Any:
        noted = await note(*arguments)
        clock.after(POLICY.try_timeout)
        return noted

    monkeypatch.setattr(OutsideReservations, "begin_try", frozen)
    with pytest.raises(Unavailable, match="was not asked in time"):
        await hotels.book(trip(), Try())
    assert supplier.asked == []


# Undoing


async def test_what_is_held_is_cancelled_at_the_supplier(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK, SURE)
    await hotels.book(trip(), Try())
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "cancel"]
    assert await states(record) == [("cancelled", "QK7R2M")]
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "cancel"]


async def test_what_was_never_sent_is_not_cancelled_and_never_sent_later(
    hotels: OutsideDesk, supplier: Script
) -> None:
    await hotels.cancel(trip(), Try())
    with pytest.raises(Refused, match="was undone already"):
        await hotels.book(trip(), Try())
    assert supplier.asked == []


@pytest.mark.parametrize("known", [NO, DOWN], ids=["refused", "never sent"])
async def test_what_surely_changed_nothing_is_not_cancelled(
    hotels: OutsideDesk, supplier: Script, record: Record, known: Exception
) -> None:
    supplier.says(known)
    with pytest.raises(type(known)):
        await hotels.book(trip(), Try())
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["book"]
    assert await states(record) == [("cancelled", None)]


async def test_nothing_is_sent_once_an_undo_has_begun(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(UNKNOWN, UNKNOWN)
    with pytest.raises(OutcomeUnknown):
        await hotels.book(trip(), Try())
    with pytest.raises(OutcomeUnknown):
        await hotels.cancel(trip(), Try())
    with pytest.raises(Refused, match="was undone already"):
        await hotels.book(trip(), Try())
    assert supplier.asked == ["book", "cancel"]
    assert await states(record) == [("cancelling", None)]


async def test_a_try_that_ends_after_its_undo_has_begun_is_no_booking(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    async def undone_meanwhile() -> Confirmed:
        supplier.says(SURE)
        await hotels.cancel(trip(), Try())
        return QUICK

    supplier.says(undone_meanwhile)
    with pytest.raises(Refused, match="was undone already"):
        await hotels.book(trip(), Try())
    assert await states(record) == [("cancelled", None)]


async def test_an_unknown_outcome_is_cancelled_at_a_supplier_that_keeps_to_the_port(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(UNKNOWN, SURE)
    with pytest.raises(OutcomeUnknown):
        await hotels.book(trip(), Try())
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "cancel"]


async def test_an_undo_looks_again_until_nothing_can_appear_any_more(
    late_hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    supplier.says(UNKNOWN)
    with pytest.raises(OutcomeUnknown):
        await late_hotels.book(trip(), Try())
    clock.after(LATE - 10)
    for nothing in (None, SURE):
        supplier.says(nothing)
        with pytest.raises(Undecided) as undecided:
            await late_hotels.cancel(trip(), Try())
        assert 0 < undecided.value.wait <= 10
        assert await states(record) == [("cancelling", None)]
    clock.after(10)
    supplier.says(None)
    await late_hotels.cancel(trip(), Try())
    assert await states(record) == [("cancelled", None)]
    assert supplier.asked == ["book", "find", "find", "find"]


@pytest.mark.parametrize("shown", [QUICK, Pending()], ids=["confirmed", "pending"])
async def test_a_late_booking_is_cancelled_as_soon_as_an_undo_sees_it(
    late_hotels: OutsideDesk, supplier: Script, record: Record, shown: object
) -> None:
    supplier.says(UNKNOWN, None)
    with pytest.raises(OutcomeUnknown):
        await late_hotels.book(trip(), Try())
    with pytest.raises(Undecided):
        await late_hotels.cancel(trip(), Try())
    supplier.says(shown, SURE)
    await late_hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "find", "find", "cancel"]
    assert await states(record) == [("cancelled", None)]


async def test_what_a_late_supplier_has_confirmed_and_does_not_show_yet_is_looked_for(
    late_hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    supplier.says(QUICK, None)
    await late_hotels.book(trip(), Try())
    with pytest.raises(Undecided):
        await late_hotels.cancel(trip(), Try())
    supplier.says(QUICK, SURE)
    await late_hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "find", "find", "cancel"]
    assert await states(record) == [("cancelled", "QK7R2M")]


async def test_what_was_confirmed_and_is_not_shown_any_more_is_cancelled_all_the_same(
    late_hotels: OutsideDesk, supplier: Script, record: Record, clock: Clock
) -> None:
    supplier.says(QUICK)
    await late_hotels.book(trip(), Try())
    clock.after(LATE)
    supplier.says(None, SURE)
    await late_hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "find", "cancel"]


async def test_a_pending_cancellation_is_asked_for_until_it_is_done(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK, Pending(7), SURE)
    await hotels.book(trip(), Try())
    with pytest.raises(Undecided) as undecided:
        await hotels.cancel(trip(), Try())
    assert undecided.value.wait == 7
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["book", "cancel", "find"]
    assert await states(record) == [("cancelled", "QK7R2M")]


async def test_a_cancellation_that_is_pending_for_too_long_is_stuck(
    hotels: OutsideDesk, supplier: Script, clock: Clock
) -> None:
    supplier.says(QUICK, Pending(), QUICK, Pending())
    await hotels.book(trip(), Try())
    with pytest.raises(Undecided):
        await hotels.cancel(trip(), Try())
    clock.after(POLICY.step_deadline + 1)
    with pytest.raises(Refused, match="The hotel supplier has not cancelled in time"):
        await hotels.cancel(trip(), Try())


async def test_a_refused_cancellation_leaves_what_is_held(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK, Refused("This fare cannot be refunded"))
    await hotels.book(trip(), Try())
    with pytest.raises(Refused, match="This fare cannot be refunded"):
        await hotels.cancel(trip(), Try())
    assert await states(record) == [("cancelling", "QK7R2M")]


async def test_what_an_operator_has_settled_is_not_booked_any_more(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(UNKNOWN)
    with pytest.raises(OutcomeUnknown):
        await hotels.book(trip(), Try())
    await record.reservations.resolve(trip(), "hotel", "Cancelled by telephone")
    with pytest.raises(Refused, match="was undone already"):
        await hotels.book(trip(), Try())
    assert supplier.asked == ["book"]


# What shows up after a trip's end


async def over(record: Record, status: TripStatus = "rolled_back") -> None:
    await record.trips.tell(trip(), TripNews(status, None, NOW, NOW))


@pytest.mark.parametrize("known", [True, False], ids=["undone", "never booked"])
async def test_what_shows_up_for_a_trip_that_is_over_is_noted_and_cancelled(
    hotels: OutsideDesk, supplier: Script, record: Record, known: bool
) -> None:
    if known:
        supplier.says(QUICK, SURE)
        await hotels.book(trip(), Try())
        await hotels.cancel(trip(), Try())
    await over(record)
    supplier.asked.clear()

    async def noted() -> Released:
        (row,) = await record.reservations.everything()
        assert (row.state, row.supplier, row.item) == ("cancelling", "hotels.example", "a-hotel")
        return SURE

    supplier.says(QUICK)
    assert await hotels.find(trip()) == QUICK
    supplier.says(QUICK, noted)
    assert await hotels.cancel_late_booking(trip()) == SURE
    assert [state for state, _ in await states(record)] == ["cancelled"]
    with pytest.raises(Refused):
        await hotels.book(trip(), Try())


async def test_what_is_refused_to_be_cancelled_late_is_asked_again_by_a_later_undo(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    await over(record)
    supplier.says(QUICK, Refused("This fare cannot be refunded"), QUICK, SURE)
    with pytest.raises(Refused, match="This fare cannot be refunded"):
        await hotels.cancel_late_booking(trip())
    await hotels.cancel(trip(), Try())
    assert supplier.asked == ["find", "cancel"] * 2
    assert [state for state, _ in await states(record)] == ["cancelled"]


@pytest.mark.parametrize("status", ["running", "booked", "needs_attention"])
async def test_a_trip_that_may_hold_something_has_no_late_bookings(
    hotels: OutsideDesk, supplier: Script, record: Record, status: TripStatus
) -> None:
    supplier.says(QUICK)
    await hotels.book(trip(), Try())
    await over(record, status)
    with pytest.raises(Refused, match="is not over"):
        await hotels.cancel_late_booking(trip())
    assert supplier.asked == ["book"]
    assert await states(record) == [("reserved", "QK7R2M")]


async def test_another_executions_late_booking_is_not_cancelled(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    await over(record)
    with pytest.raises(Refused, match="is another trip's"):
        await hotels.cancel_late_booking(trip(run="another-run"))
    assert supplier.asked == []
    assert await states(record) == []


# Whose it is


async def test_another_execution_books_and_undoes_nothing_of_the_trip(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK)
    await hotels.book(trip(), Try())
    another = trip(run="another-run")
    with pytest.raises(Refused, match="is another trip's"):
        await hotels.book(another, Try())
    await hotels.cancel(another, Try())
    assert supplier.asked == ["book"]
    assert await states(record) == [("reserved", "QK7R2M")]


async def test_what_was_booked_here_before_the_supplier_was_set_up_is_undone_here(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    await EmbeddedSupplier("hotel", record).book(trip(), Try())
    assert await hotels.book(trip(), Try()) == Confirmed(None)
    await hotels.cancel(trip(), Try())
    assert supplier.asked == []
    assert await states(record) == [("cancelled", None)]


@pytest.mark.parametrize("answer", [QUICK, UNKNOWN], ids=["confirmed", "unknown"])
async def test_what_was_booked_at_a_supplier_is_not_called_undone_once_that_is_not_set_up(
    hotels: OutsideDesk, supplier: Script, record: Record, answer: object
) -> None:
    supplier.says(answer)
    with contextlib.suppress(OutcomeUnknown):
        await hotels.book(trip(), Try())
    before = await states(record)
    embedded = EmbeddedSupplier("hotel", record)
    for call in (embedded.cancel(trip(), Try()), embedded.book(trip(), Try())):
        with pytest.raises(Refused, match="at a supplier that is not set up any more"):
            await call
    assert await states(record) == before
    supplier.says(SURE)
    await hotels.cancel(trip(), Try())
    assert await states(record) == [("cancelled", before[0][1])]


async def test_closing_the_desk_closes_the_supplier(hotels: OutsideDesk, supplier: Script) -> None:
    await hotels.close()
    assert supplier.asked == ["close"]
