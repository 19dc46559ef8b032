"""The desk before a supplier that is somebody else's: one booking, whatever the supplier answers.

The supplier is a script: what it says, and in which order it is asked, is the test's. The record is
a real one, and the time is the test's.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest
import sqlalchemy as sa

from record import OutsideReservations, Record, RecordUnavailable
from record.tables import reservations
from shared import KINDS, BookVacationInput, Price, SagaPolicy, TripNews, TripStatus
from suppliers import (
    Confirmed,
    EmbeddedSupplier,
    Held,
    OutcomeUnknown,
    OutsideDesk,
    Pending,
    Quoted,
    RecordAway,
    Refused,
    Released,
    SupplierError,
    Try,
    Unavailable,
    Undecided,
)
from tests.suppliers import script
from tests.suppliers.script import DOWN, NO, QUICK, SURE, UNKNOWN, Script
from tests.suppliers.subjects import TestClock

POLICY = SagaPolicy(try_timeout=100, retry_interval=1, step_deadline=600)

LATE = 60.0


NOW = dt.datetime.now(dt.UTC)


def trip(run: str = "first-run", trip_id: str = "trip") -> BookVacationInput:
    return script.trip(trip_id, run, policy=POLICY)


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


# What is answered, asked and recorded


# The second line of a story has the questions to the supplier and its answers. The third has the
# calls at the desk, their outcomes, the seconds that go by, and perhaps that the trip is over. The
# fourth has the state and the reference that the record has in the end. A late supplier's bookings
# may appear 60 seconds late.
STORIES = """
a recorded booking is not asked for again
  book confirmed
  book confirmed, book confirmed
  reserved QK7R2M
a booking whose answer was lost is found
  book unknown, find confirmed
  book unknown, book confirmed
  reserved QK7R2M
what was not booked is sent again at once
  book unknown, find nothing, book confirmed
  book unknown, book confirmed
  reserved QK7R2M
a late supplier is sent nothing again before the time is over
  book unknown, find nothing, find nothing, find nothing, book confirmed
  book unknown, book undecided, 59, book undecided, 1, book confirmed
  reserved QK7R2M
a late supplier whose call ended with a bug may take the time of the call, too
  book bug, find nothing, find nothing, book confirmed
  book bug, 159, book undecided, 1, book confirmed
  reserved QK7R2M
a late supplier's booking is found and not made twice
  book unknown, find nothing, find confirmed
  book unknown, book undecided, book confirmed
  reserved QK7R2M
a dead supplier fails try after try
  book unknown, find unknown, find unavailable
  book unknown, book unknown, book unavailable
  asked None
a late supplier's refusal is not waited for
  book refused, book confirmed
  book refused, book confirmed
  reserved QK7R2M
a late supplier that was not reached is not waited for
  book unavailable, book confirmed
  book unavailable, book confirmed
  reserved QK7R2M
a late supplier that was not reached may still book what an earlier try has sent
  book unknown, find nothing, book unavailable, find nothing
  book unknown, 60, book unavailable, book undecided
  asked None
a cancellation that takes longer than a step may is given up
  book confirmed, cancel pending, find confirmed, cancel pending
  book confirmed, cancel undecided, 700, cancel refused
  cancelling QK7R2M
a pending booking that is decided against is refused
  book pending, find released
  book undecided, book refused
  pending None
a late supplier that does not show a pending booking yet is not sent it again
  book pending, find nothing, find nothing, book confirmed
  book undecided, book undecided, 60, book confirmed
  reserved QK7R2M
a pending booking that the supplier does not know any more is sent again
  book pending, find nothing, book confirmed
  book undecided, book confirmed
  reserved QK7R2M
a late supplier's pending booking is cancelled as soon as an undo sees it
  book pending, find pending, cancel released
  book undecided, cancel released
  cancelled None
what is held is cancelled once
  book confirmed, cancel released
  book confirmed, cancel released, cancel released
  cancelled QK7R2M
what was never sent is not cancelled and never sent later
  -
  cancel released, book refused
  cancelled None
what was refused is not cancelled
  book refused
  book refused, cancel released
  cancelled None
what did not reach the supplier is not cancelled
  book unavailable
  book unavailable, cancel released
  cancelled None
nothing is sent once an undo has begun
  book unknown, cancel unknown
  book unknown, cancel unknown, book refused
  cancelling None
an unknown outcome is cancelled at a supplier that keeps to the port
  book unknown, cancel released
  book unknown, cancel released
  cancelled None
a late supplier is asked by an undo until nothing can appear any more
  book unknown, find nothing, find released, find nothing
  book unknown, 50, cancel undecided, cancel undecided, 10, cancel released
  cancelled None
a late supplier's booking is cancelled as soon as an undo sees it
  book unknown, find nothing, find confirmed, cancel released
  book unknown, cancel undecided, cancel released
  cancelled None
a late supplier's booking that was confirmed and does not show yet is looked for
  book confirmed, find nothing, find confirmed, cancel released
  book confirmed, cancel undecided, cancel released
  cancelled QK7R2M
a late supplier's booking that does not show any more is cancelled all the same
  book confirmed, find nothing, cancel released
  book confirmed, 60, cancel released
  cancelled QK7R2M
a pending cancellation is asked for until it is done
  book confirmed, cancel pending, find released
  book confirmed, cancel undecided, cancel released
  cancelled QK7R2M
a cancellation that is pending for too long is stuck
  book confirmed, cancel pending, find confirmed, cancel pending
  book confirmed, cancel undecided, 900, cancel refused
  cancelling QK7R2M
a refused cancellation leaves what is held
  book confirmed, cancel refused
  book confirmed, cancel refused
  cancelling QK7R2M
what shows up for a trip that is over is cancelled, and not booked again
  find confirmed, cancel released
  over, cancel_late_booking released, book refused
  cancelled None
what shows up after its undo is cancelled again
  book confirmed, cancel released, find confirmed, cancel released
  book confirmed, cancel released, over, cancel_late_booking released
  cancelled QK7R2M
what is refused to be cancelled late is noted, and asked again by a later undo
  find confirmed, cancel refused, find confirmed, cancel released
  over, cancel_late_booking refused, cancel released
  cancelled None
what is held is confirmed
  book held, confirm confirmed
  hold held, book confirmed
  reserved QK7R2M
a recorded hold is not asked for again
  book held
  hold held, hold held
  held None
a hold whose answer was lost is found
  book unknown, find held
  hold unknown, hold held
  held None
a confirm whose answer was lost is found
  book held, confirm unknown, find confirmed
  hold held, book unknown, book confirmed
  reserved QK7R2M
a confirm that was not carried out is sent again
  book held, confirm unknown, find held, confirm confirmed
  hold held, book unknown, book confirmed
  reserved QK7R2M
a confirm that did not reach the supplier is sent again
  book held, confirm unavailable, confirm confirmed
  hold held, book unavailable, book confirmed
  reserved QK7R2M
a confirm that did not reach the supplier may still be carried out if an earlier one was sent
  book held, confirm unknown, find held, confirm unavailable, find confirmed
  hold held, book unknown, book unavailable, book confirmed
  reserved QK7R2M
a pending confirm is asked for until it is decided
  book held, confirm pending, find pending, find confirmed
  hold held, book undecided, book undecided, book confirmed
  reserved QK7R2M
a hold that has expired at its supplier is not booked
  book held, confirm refused, cancel released
  hold held, book refused, cancel released
  cancelled None
a hold that is gone when a lost confirm is asked about is not booked
  book held, confirm unknown, find nothing
  hold held, book unknown, book refused
  held None
a hold that was released when a lost confirm is asked about is not booked
  book held, confirm unknown, find released
  hold held, book unknown, book refused
  held None
what was quoted is booked at the confirm
  book quoted, book confirmed
  hold quoted, hold quoted, book confirmed
  reserved QK7R2M
what was quoted and whose booking was lost is found
  book quoted, book unknown, find confirmed
  hold quoted, book unknown, book confirmed
  reserved QK7R2M
what was quoted holds nothing that could be cancelled
  book quoted
  hold quoted, cancel released, book refused
  cancelled None
what is held is released, and not booked later
  book held, cancel released
  hold held, cancel released, book refused
  cancelled None
what may have been confirmed is cancelled
  book held, confirm unknown, cancel released
  hold held, book unknown, cancel released
  cancelled None
a supplier that books what it was to hold has booked it
  book confirmed
  hold confirmed, book confirmed
  reserved QK7R2M
a supplier that holds what it was to book is told to book it
  book held, find held, confirm confirmed
  book unknown, book confirmed
  reserved QK7R2M
a late supplier is not told to book what it may not show yet
  book held, find nothing, find held, confirm unknown, find held, find held, confirm confirmed
  hold held, book undecided, 60, book unknown, book undecided, 60, book confirmed
  reserved QK7R2M
"""

EUROS = Price("120.00", "EUR")

ANSWERS = {
    "confirmed": QUICK,
    "held": Held(900, EUROS),
    "quoted": Quoted(EUROS),
    "pending": Pending(),
    "released": SURE,
    "nothing": None,
    "refused": NO,
    "unavailable": DOWN,
    "unknown": UNKNOWN,
    "bug": ValueError("int() of a date"),
    "undecided": Undecided("", 0.0),
}

LINES = STORIES.strip().splitlines()


@pytest.mark.parametrize(
    ("told", "asked", "calls", "becomes"),
    [[line.strip() for line in LINES[first : first + 4]] for first in range(0, len(LINES), 4)],
)
async def test_a_desk_books_once_and_undoes_what_may_be_held(
    hotels: OutsideDesk,
    supplier: Script,
    record: Record,
    clock: TestClock,
    told: str,
    asked: str,
    calls: str,
    becomes: str,
) -> None:
    hotels = dataclasses.replace(hotels, late=LATE if "late supplier" in told else 0.0)
    questions = asked.split(", ") if asked != "-" else []
    supplier.says(*(ANSWERS[question.split()[1]] for question in questions))
    for step in calls.split(", "):
        if step.isdigit():
            clock.after += int(step)
            continue
        if step == "over":
            await over(record)
            continue
        call, outcome = step.split()
        tried = () if call == "cancel_late_booking" else (Try(),)
        wanted = dataclasses.replace(trip(), hold_seconds=900 if call == "hold" else None)
        asking = getattr(hotels, call.replace("hold", "book"))
        said = await outcome_of(asking(wanted, *tried))
        assert type(said) is type(ANSWERS[outcome]), step
    assert supplier.asked == [question.split()[0] for question in questions]
    assert [f"{state} {reference}" for state, reference in await states(record)] == [becomes]


async def outcome_of(asking: Awaitable[object]) -> object:
    """Return what a desk answers or raises."""
    try:
        return await asking
    except (SupplierError, ValueError) as error:
        return error


# Prices


@pytest.mark.parametrize(
    ("held", "answers", "most", "refusal"),
    [
        (True, [Held(900, EUROS), Confirmed("A", Price("120", "EUR"))], None, None),
        (True, [Held(900, EUROS), Confirmed("A")], EUROS, None),
        (
            True,
            [Held(900, EUROS), Confirmed("A", Price("120.01", "EUR"))],
            None,
            "The price of the hotel has changed from 120.00 EUR to 120.01 EUR",
        ),
        (
            True,
            [Quoted(EUROS), Confirmed("A", Price("120.00", "USD"))],
            None,
            "The price of the hotel has changed from 120.00 EUR to 120.00 USD",
        ),
        (
            True,
            [Held(900, EUROS)],
            Price("119.99", "EUR"),
            "The trip costs 120.00 EUR, and may cost 119.99 EUR at the most",
        ),
        (
            False,
            [Confirmed("A", EUROS)],
            Price("119.99", "EUR"),
            "The trip costs 120.00 EUR, and may cost 119.99 EUR at the most",
        ),
        (
            False,
            [Confirmed("A", EUROS)],
            Price("500", "USD"),
            "The hotel costs 120.00 EUR, and the trip may cost 500 USD at the most",
        ),
        (
            False,
            [Confirmed("A")],
            EUROS,
            "The hotel has no price, and the trip may cost 120.00 EUR at the most",
        ),
        (False, [Confirmed("A", EUROS)], EUROS, None),
    ],
)
async def test_a_trip_that_is_dearer_than_it_may_be_or_than_it_was_is_refused_and_can_be_undone(
    hotels: OutsideDesk,
    supplier: Script,
    record: Record,
    held: bool,
    answers: list[Any],
    most: Price | None,
    refusal: str | None,
) -> None:
    supplier.says(*answers, SURE)
    wanted = dataclasses.replace(trip(), max_price=most)
    said: list[object] = []
    for seconds in (900.0, None) if held else (None,):
        asked = dataclasses.replace(wanted, hold_seconds=seconds)
        said.append(await outcome_of(hotels.book(asked, Try())))
        if isinstance(said[-1], Refused):
            break
    refused = [str(each) for each in said if isinstance(each, Refused)]
    assert refused == ([refusal] if refusal else [])
    await hotels.cancel(wanted, Try())
    assert supplier.asked[-1] == "cancel"
    assert [state for state, _ in await states(record)] == ["cancelled"]


async def test_the_prices_of_all_steps_count(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    total = f"0.{len(KINDS)}"
    wanted = dataclasses.replace(trip(), max_price=Price(f"{total}0", "EUR"))
    supplier.says(*(Confirmed(kind, Price("0.1", "EUR")) for kind in KINDS))
    for kind in KINDS:
        assert [row.price for row in await record.trips.page(1)] in ([], [None])
        await dataclasses.replace(hotels, kind=kind).book(wanted, Try())
    (row,) = await record.trips.page(1)
    assert row.price == Price(total, "EUR")


async def test_what_the_supplier_gives_back_is_noted(
    hotels: OutsideDesk, supplier: Script, record: Record
) -> None:
    supplier.says(QUICK, Released(EUROS))
    await hotels.book(trip(), Try())
    await hotels.cancel(trip(), Try())
    (row,) = await record.trips.page(1)
    assert [step.refund for step in row.steps if step.kind == "hotel"] == [EUROS]


# Booking


async def test_a_try_is_noted_before_it_is_sent_and_what_is_confirmed_with_its_reference(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock
) -> None:
    async def look() -> Confirmed:
        (row,) = await record.reservations.everything()
        assert (row.state, row.supplier) == ("asked", "hotels.example")
        assert row.over_at == clock() + dt.timedelta(seconds=POLICY.try_timeout)
        return QUICK

    supplier.says(look)
    assert await hotels.book(trip(), Try()) == QUICK
    (row,) = await record.reservations.everything()
    assert (row.state, row.item, row.reference) == ("reserved", "a-hotel", "QK7R2M")
    assert (row.supplier, row.over_at, row.first_run_id) == ("hotels.example", None, "first-run")


@pytest.mark.parametrize(
    ("write", "asked"), [("begin_try", ["book"]), ("confirm", ["book", "find"])]
)
async def test_what_cannot_be_noted_is_not_sent_and_what_could_not_be_recorded_is_found(
    hotels: OutsideDesk,
    supplier: Script,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    write: str,
    asked: list[str],
) -> None:
    async def away(*_: Any) -> None:
        raise RecordUnavailable("The record does not answer")

    supplier.says(QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(OutsideReservations, write, away)
        with pytest.raises(RecordAway, match="The record does not answer"):
            await hotels.book(trip(), Try())
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == asked
    assert await states(record) == [("reserved", "QK7R2M")]


async def test_a_call_that_is_broken_off_is_over_then(
    late_hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock
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
    assert (row.state, row.over_at) == ("cancelling", clock())


async def test_a_pending_booking_is_asked_for_until_it_is_decided(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock
) -> None:
    supplier.says(Pending(20), Pending(), OutcomeUnknown("Away"), QUICK)
    waits = []
    for _ in range(3):
        with pytest.raises(Undecided) as undecided:
            await hotels.book(trip(), Try())
        waits.append(undecided.value.wait)
        assert await states(record) == [("pending", None)]
        clock.after += 40
    assert await hotels.book(trip(), Try()) == QUICK
    assert supplier.asked == ["book", "find", "find", "find"]
    assert waits[0] == 20
    assert waits[1:] == pytest.approx([20, 30], abs=1)


@pytest.mark.parametrize("wish", [0.0, 1.0])
async def test_a_supplier_that_wishes_to_be_asked_at_once_is_asked_ever_more_seldom(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock, wish: float
) -> None:
    async def waits(call: Any) -> list[float]:
        found, clock.after = [], 0.0
        for _ in range(8):
            with pytest.raises(Undecided) as undecided:
                await call(trip(), Try())
            # The record has its own clock, and says since when the supplier thinks.
            (row,) = await record.reservations.everything()
            clock.began = row.updated_at or clock.began
            found.append(undecided.value.wait)
            clock.after += undecided.value.wait
        return found

    supplier.says(Pending(wish))
    grown = pytest.approx([1, 1, 1, 1.5, 2.25, 3.375, 5.0625, 7.59375])
    assert await waits(hotels.book) == grown
    assert await waits(hotels.cancel) == grown


async def test_an_old_booking_may_take_its_time_to_be_cancelled(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock
) -> None:
    supplier.says(QUICK, Pending())
    await hotels.book(trip(), Try())
    long_ago = sa.update(reservations).values(updated_at=NOW - dt.timedelta(days=9))
    await record.database.write(lambda sql: sql.execute(long_ago))
    for after, outcome in ((0.0, Undecided), (500.0, Undecided), (700.0, Refused)):
        clock.after = after
        with pytest.raises(outcome):
            await hotels.cancel(trip(), Try())


async def test_a_question_that_fails_while_a_booking_may_appear_costs_no_try(
    late_hotels: OutsideDesk, supplier: Script, clock: TestClock
) -> None:
    supplier.says(UNKNOWN, OutcomeUnknown("Busy", 20), None)
    with pytest.raises(OutcomeUnknown):
        await late_hotels.book(trip(), Try())
    with pytest.raises(Undecided) as undecided:
        await late_hotels.book(trip(), Try())
    assert undecided.value.wait == 20
    clock.after += LATE - 10
    with pytest.raises(Undecided) as undecided:
        await late_hotels.book(trip(), Try())
    assert 0 < undecided.value.wait <= 10


async def test_a_call_without_a_place_waits_its_turn_and_is_no_try_yet(
    hotels: OutsideDesk, supplier: Script, record: Record, clock: TestClock
) -> None:
    gate = asyncio.Event()
    places = asyncio.Semaphore(5)
    hotels = dataclasses.replace(hotels, places=places)

    async def slow() -> Confirmed:
        await gate.wait()
        return QUICK

    supplier.says(slow)
    trips = [trip(trip_id=f"trip-{number}") for number in range(25)]
    booking = [asyncio.create_task(hotels.book(each, Try())) for each in trips]
    while len(places._waiters or ()) < 20 or len(supplier.asked) < 5:
        await asyncio.sleep(0.001)
    assert len(await states(record)) == 5, "Only what is sent is noted"
    # Those that wait longer than a try may take have their whole time before them.
    clock.after += POLICY.try_timeout
    gate.set()
    assert await asyncio.gather(*booking) == [QUICK] * 25
    assert supplier.asked == ["book"] * 25


async def test_a_process_that_was_frozen_since_its_note_does_not_send(
    hotels: OutsideDesk, supplier: Script, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = OutsideReservations.begin_try

    async def frozen(*arguments: Any) -> Any:
        noted = await note(*arguments)
        clock.after += POLICY.try_timeout
        return noted

    monkeypatch.setattr(OutsideReservations, "begin_try", frozen)
    with pytest.raises(Unavailable, match="was not asked in time"):
        await hotels.book(trip(), Try())
    assert supplier.asked == []


# Undoing


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


# What shows up after a trip's end


async def over(record: Record, status: TripStatus = "rolled_back") -> None:
    await record.trips.tell(trip(), TripNews(status, None, NOW, NOW))


@pytest.mark.parametrize(
    ("status", "run", "told"),
    [
        *((status, "first-run", "is not over") for status in ("running", "needs_attention")),
        ("booked", "first-run", "is not over"),
        ("rolled_back", "another-run", "is another trip's"),
    ],
)
async def test_only_the_trips_own_execution_cancels_late_bookings_and_only_once_it_is_over(
    hotels: OutsideDesk,
    supplier: Script,
    record: Record,
    status: TripStatus,
    run: str,
    told: str,
) -> None:
    supplier.says(QUICK)
    await hotels.book(trip(), Try())
    await over(record, status)
    with pytest.raises(Refused, match=told):
        await hotels.cancel_late_booking(trip(run))
    assert supplier.asked == ["book"]
    assert await states(record) == [("reserved", "QK7R2M")]


# Where it is held


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
