"""Trips that are held: until when, what they cost, and what becomes of them; on both databases."""

import asyncio
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from record import UNHELD, Record, RecordedTrip, ReservationRefused, promises_now
from record.tables import reservations, trips
from shared import KINDS, BookVacationInput, HeldTrip, Kind, Price, TripStatus
from tests.record.conftest import Pair
from tests.record.databases import back_to, execute, transaction, unchanged
from tests.record.test_events import statuses, told
from tests.record.test_schema import migrate
from tests.record.trips import NOON, accepted, later, news, trip, trip_in

OUTSIDE = "hotels.example"
EUROS = Price("120.00", "EUR")
HOUR = dt.timedelta(hours=1)


def wanted(trip_id: str = "trip", **changes: Any) -> BookVacationInput:
    """Return a trip that is to be held."""
    return trip(trip_id, **{"hold_seconds": 900.0, **changes})


async def hold(
    record: Record,
    kind: Kind,
    expires_in: float | None,
    price: Price | None = None,
    own: BookVacationInput | None = None,
) -> None:
    """Have a supplier outside hold an item for so long; `None`: it only quotes it."""
    own = own or wanted()
    await record.outside.begin_try(own, kind, OUTSIDE, NOON)
    await record.outside.hold(own, kind, price, expires_in, None, 0.5)


async def held(record: Record, trip_id: str = "trip", *, seconds: float = 900.0) -> HeldTrip:
    """Have all steps of a trip held here, and tell the record."""
    await record.trips.accept(accepted(trip_id))
    own = wanted(trip_id)
    for kind in KINDS:
        await record.reservations.reserve(own, kind)
    return await record.trips.tell_held(own, news("held", 1), seconds)


def left(row: RecordedTrip) -> float:
    """Return for how long a trip is held."""
    assert row.expires_at is not None
    return (row.expires_at - dt.datetime.now(dt.UTC)).total_seconds()


# Held


async def test_a_held_trip_is_open_and_holds_all(record: Record) -> None:
    answer = await held(record)
    assert answer == HeldTrip(900.0, [])
    row = await trip_in(record)
    assert (row.status, row.told_at, row.closed_at) == ("held", later(1), None)
    assert (row.confirmed_at, row.booked_at) == (None, None)
    assert 890 < left(row) <= 900
    assert [(step.state, step.held) for step in row.steps] == [("held", True)] * len(KINDS)
    assert await record.trips.page(5, status="held") == [row]
    assert (await promises_now(record.database, HOUR))["trips_open"] == {
        "running": 0,
        "held": 1,
        "needs_attention": 0,
    }


async def test_telling_again_that_a_trip_is_held_changes_nothing(record: Record) -> None:
    await held(record, seconds=600)
    with unchanged(record):
        # Time has passed since, and its workflow does not know how much.
        again = await record.trips.tell_held(wanted(), news("held", 1), 700.0)
    assert 590 < again.seconds <= 600
    assert [each.status for each in await told(record)] == ["held"]


async def test_another_execution_cannot_tell_that_a_trip_is_held(record: Record) -> None:
    await record.trips.accept(accepted())
    await record.reservations.reserve(wanted(), KINDS[0])
    with unchanged(record):
        await record.trips.tell_held(wanted(run="another"), news("held", 1), 900.0)


async def test_a_late_message_does_not_hold_what_is_confirmed_or_over(record: Record) -> None:
    await held(record)
    await record.trips.note_confirm("trip")
    for status in (None, "booked"):
        if status:
            await record.trips.tell(trip(), news("booked", 6))
        with unchanged(record):
            await record.trips.tell_held(wanted(), news("held", 1), 900.0)
            await record.trips.tell_held(wanted(), news("held", 4), 900.0)
    for ending in UNHELD:
        await held(record, ending)
        await record.trips.tell(wanted(ending), news(ending, 5))
        with unchanged(record):
            await record.trips.tell_held(wanted(ending), news("held", 9), 900.0)


async def test_a_workflow_that_was_reset_holds_its_trip_anew_unless_it_was_confirmed(
    record: Record,
) -> None:
    await held(record, seconds=60)
    answer = await record.trips.tell_held(wanted(), news("held", 5), 900.0)
    assert 890 < left(await trip_in(record)) <= answer.seconds == 900
    assert not answer.confirmed
    confirmed = await record.trips.note_confirm("trip")
    with unchanged(record):
        assert (await record.trips.tell_held(wanted(), news("held", 9), 900.0)).confirmed
    assert await trip_in(record) == confirmed


@pytest.mark.parametrize(("suppliers", "ours"), [(100.0, 900.0), (900.0, 100.0)])
async def test_a_trip_is_held_until_the_first_of_all_lets_it_go(
    record: Record, suppliers: float, ours: float
) -> None:
    await record.trips.accept(accepted())
    await hold(record, KINDS[0], 5_000.0)
    await hold(record, KINDS[1], suppliers)
    await hold(record, KINDS[2], None)
    answer = await record.trips.tell_held(wanted(), news("held", 1), ours)
    assert answer.quoted == [KINDS[2]]
    assert 90 < answer.seconds <= 100
    row = await trip_in(record)
    assert 90 < left(row) <= 100
    assert [step.state for step in row.steps][:3] == ["held", "held", "quoted"]
    assert [step.held for step in row.steps][:3] == [True, True, False]


async def test_a_hold_that_is_over_already_has_no_time_left(record: Record) -> None:
    await record.trips.accept(accepted())
    await hold(record, KINDS[0], 0.0)
    assert (await record.trips.tell_held(wanted(), news("held", 1), 900.0)).seconds <= 0


async def test_what_a_supplier_has_booked_outright_does_not_expire(record: Record) -> None:
    await record.trips.accept(accepted())
    await record.outside.begin_try(wanted(), "car", OUTSIDE, NOON)
    await record.outside.confirm(wanted(), "car", "C-1")
    answer = await record.trips.tell_held(wanted(), news("held", 1), 900.0)
    assert answer == HeldTrip(900.0, [])


async def test_of_a_confirm_and_a_hold_that_are_told_at_once_the_confirm_wins(pair: Pair) -> None:
    """The workflow tells again that it is held, and the client learns it after the first time."""
    for number in range(10):
        own = wanted(f"trip-{number}")
        await pair[0].reservations.reserve(own, KINDS[0])
        await asyncio.gather(
            *(
                each
                for record in pair
                for each in (
                    record.trips.note_confirm(own.book_user_id),
                    record.trips.tell_held(own, news("held", 1), 900.0),
                )
            )
        )
        row = await trip_in(pair[0], f"trip-{number}")
        assert (row.status, row.confirmed_at is None) == ("running", False)


# Confirmed, expired


async def test_a_confirm_is_noted_once(record: Record) -> None:
    await held(record)
    row = await record.trips.note_confirm("trip")
    assert (row.status, row.confirmed_at is None) == ("running", False)
    with unchanged(record):
        assert await record.trips.note_confirm("trip") == row
    for kind in KINDS:
        await record.reservations.reserve(trip(), kind)
    await record.trips.tell(trip(), news("booked", 9))
    booked = await trip_in(record)
    assert (booked.status, booked.booked_at) == ("booked", later(9))
    assert booked.confirmed_at == row.confirmed_at
    assert {each.state for each in await record.reservations.of("trip")} == {"reserved"}


@pytest.mark.parametrize("outside", [False, True])
async def test_a_held_trip_that_is_booked_was_confirmed(record: Record, outside: bool) -> None:
    """The client that confirmed it may not have come to note that."""
    await held(record)
    if outside:
        await record.outside.begin_try(trip(), KINDS[0], OUTSIDE, NOON)
    else:
        await record.reservations.reserve(trip(), KINDS[0])
    row = await trip_in(record)
    assert (row.status, row.confirmed_at is None) == ("running", False)
    with unchanged(record):
        assert await record.trips.note_confirm("trip") == row


async def test_a_failure_at_the_confirm_counts_although_nobody_noted_that(record: Record) -> None:
    await held(record)
    assert await record.reservations.count_failure(wanted(), KINDS[0], "No", final=False) == 0
    assert await record.reservations.count_failure(trip(), KINDS[0], "No", final=False) == 1
    assert (await trip_in(record)).confirmed_at is not None


@pytest.mark.parametrize("status", ["booked", "rolled_back", "cancelled"])
async def test_a_held_trip_that_ends_as_one_not_to_be_held_was_confirmed(
    record: Record, status: TripStatus
) -> None:
    """Nobody noted its confirm, and an operator completed its activities by hand."""
    await held(record)
    await record.trips.tell(trip(), news(status, 5))
    row = await trip_in(record)
    assert (row.status, row.confirmed_at is None) == (status, False)


@pytest.mark.parametrize("status", UNHELD)
async def test_a_trip_that_ends_while_it_is_held_was_not_confirmed(
    record: Record, status: TripStatus
) -> None:
    await held(record)
    await record.trips.tell(wanted(), news(status, 5))
    assert (await trip_in(record)).confirmed_at is None
    await record.trips.accept(accepted("another"))
    await record.trips.tell(trip("another"), news("booked", 5))
    assert (await trip_in(record, "another")).confirmed_at is None


@pytest.mark.parametrize("status", ["rolled_back", "cancelled", "needs_attention"])
async def test_a_confirm_that_was_taken_is_noted_also_of_a_trip_that_has_gone_back(
    record: Record, status: TripStatus
) -> None:
    await held(record)
    await record.trips.tell(wanted(), news(status, 5))
    row = await record.trips.note_confirm("trip")
    assert (row.status, row.confirmed_at is None) == (status, False)


async def test_an_undo_of_a_confirmed_trip_notes_that_too(record: Record) -> None:
    await held(record)
    await record.reservations.cancel(trip(), KINDS[0])
    row = await trip_in(record)
    assert (row.status, row.confirmed_at is None) == ("running", False)


async def test_a_late_hold_and_another_execution_confirm_nothing(record: Record) -> None:
    await held(record)
    row = await trip_in(record)
    await record.reservations.reserve(wanted(), KINDS[0])
    with pytest.raises(ReservationRefused):
        await record.reservations.reserve(trip(run="another"), KINDS[0])
    assert await trip_in(record) == row


async def test_what_a_workflow_of_before_tells_of_a_confirm_is_passed_over(record: Record) -> None:
    """Temporal may not have kept the confirm yet, and may never."""
    await held(record)
    with unchanged(record):
        assert await record.trips.tell(trip(), news("running", 5)) is None


async def test_a_confirmed_trip_shows_which_step_goes_on(record: Record) -> None:
    await record.trips.accept(accepted())
    await hold(record, KINDS[0], 900.0)
    await hold(record, KINDS[1], None)
    await record.trips.tell_held(wanted(), news("held", 1), 900.0)
    await record.trips.note_confirm("trip")
    steps = (await trip_in(record)).steps
    assert [step.state for step in steps][:2] == ["held", "booking"]
    await record.outside.begin_try(trip(), KINDS[1], OUTSIDE, NOON)
    await record.outside.confirm(trip(), KINDS[1], "H-1")
    steps = (await trip_in(record)).steps
    assert [step.state for step in steps][:2] == ["booking", "booked"]
    assert [step.attempts for step in steps][:2] == [1, 1]
    await record.reservations.count_failure(trip(), KINDS[0], "No answer", final=False)
    assert (await trip_in(record)).steps[0].attempts == 2


async def test_a_held_trip_that_is_being_undone_shows_which_step_goes_back(record: Record) -> None:
    await held(record)
    last, *others = reversed(KINDS)
    for kind, left_over in ((last, others), (others[0], others[1:])):
        await record.reservations.cancel(wanted(), kind)
        row = await trip_in(record)
        states = {step.kind: step.state for step in row.steps}
        assert (row.status, states[kind], states[left_over[0]]) == ("running", "undone", "undoing")


async def test_an_expired_trip_never_changes(record: Record) -> None:
    await held(record)
    for kind in KINDS:
        await record.reservations.cancel(wanted(), kind)
    await record.trips.tell(wanted(), news("expired", 5, "Too late"))
    row = await trip_in(record)
    assert (row.status, row.reason, row.closed_at) == ("expired", "Too late", later(5))
    assert [step.state for step in row.steps] == ["undone"] * len(KINDS)
    assert await record.trips.page(5, status="expired") == [row]
    with unchanged(record):
        await record.trips.note_confirm("trip")
        await record.trips.tell(trip(), news("booked", 7))
        assert await record.trips.begin_cancellation("trip", "shop") == row
        for own in (wanted(), trip()):
            with pytest.raises(ReservationRefused):
                await record.reservations.reserve(own, KINDS[0])
            with pytest.raises(ReservationRefused):
                await record.outside.begin_try(own, KINDS[0], OUTSIDE, NOON)


async def test_others_are_told_that_a_trip_is_held_and_how_it_went(record: Record) -> None:
    await held(record)
    await record.trips.note_confirm("trip")
    await record.trips.tell(trip(), news("booked", 6))
    assert await statuses(record) == [(1, "held"), (2, "booked")]
    await held(record, "another")
    await record.trips.tell(wanted("another"), news("expired", 6))
    types = [each.told()["type"] for each in await told(record, after=2)]
    assert types == ["trip.held", "trip.expired"]


# Promises


def accepted_before(record: Record, trip_id: str, **ago: dt.timedelta) -> None:
    """Have times of a trip lie in the past."""
    times = {name: dt.datetime.now(dt.UTC) - each for name, each in ago.items()}
    execute(record, sa.update(trips).where(trips.c.trip_id == trip_id).values(times))


async def test_a_trip_has_its_time_from_its_confirm_on(record: Record) -> None:
    for trip_id in ("held", "confirmed", "late"):
        await held(record, trip_id)
        accepted_before(record, trip_id, accepted_at=5 * HOUR)
    for trip_id in ("confirmed", "late"):
        await record.trips.note_confirm(trip_id)
    accepted_before(record, "confirmed", confirmed_at=HOUR / 2)
    accepted_before(record, "late", confirmed_at=2 * HOUR)
    assert (await promises_now(record.database, HOUR))["trips_past_deadline"] == 1


async def test_what_is_held_past_its_time_is_found(record: Record) -> None:
    for trip_id in ("young", "just over", "forgotten", "confirmed", "expired"):
        await held(record, trip_id)
        ago = dt.timedelta(seconds={"young": -10, "just over": 50}.get(trip_id, 70))
        accepted_before(record, trip_id, expires_at=ago)
    await record.trips.note_confirm("confirmed")
    await record.trips.tell(wanted("expired"), news("expired", 5))
    assert [row.trip_id for row in await record.trips.held_too_long(60.0)] == ["forgotten"]


# Prices


async def test_a_trip_costs_what_its_steps_cost(record: Record) -> None:
    await record.trips.accept(accepted())
    prices = [Price("0.1", "EUR"), Price("0.20", "EUR"), Price("1000000000", "EUR")]
    for kind, price in zip(KINDS, prices, strict=False):
        assert (await trip_in(record)).price is None, "Not before all are known"
        await hold(record, kind, 900.0, price)
    for kind in KINDS[3:]:
        await hold(record, kind, 900.0, Price("0", "EUR"))
    row = await trip_in(record)
    assert [step.price for step in row.steps][:3] == prices
    assert row.price == Price("1000000000.30", "EUR")


@pytest.mark.parametrize(
    "price", [EUROS, Price("0", "JPY"), Price("999999999999.9999", "XXX"), Price("0.0001", "BHD")]
)
async def test_a_price_comes_back_as_it_was(record: Record, price: Price) -> None:
    await hold(record, "hotel", 900.0, price)
    await record.outside.begin_cancel(wanted(), "hotel")
    await record.outside.released(wanted(), "hotel", 0.5, price)
    (step,) = [each for each in (await trip_in(record)).steps if each.kind == "hotel"]
    assert (step.price, step.refund, step.state) == (price, price, "undone")


async def test_a_price_that_differs_at_the_confirm_is_refused_and_the_former_stays(
    record: Record,
) -> None:
    await hold(record, "hotel", 900.0, EUROS)
    for price in (Price("120.01", "EUR"), Price("119.99", "EUR"), Price("120.00", "USD")):
        changed = f"The price of the hotel has changed from 120.00 EUR to {price}"
        with pytest.raises(ReservationRefused, match=changed):
            await record.outside.confirm(trip(), "hotel", "H-1", None, 0.5, price)
        (row,) = await record.reservations.of("trip")
        assert (row.state, row.price) == ("held", EUROS)
    await record.outside.confirm(trip(), "hotel", "H-1", None, 0.5, Price("120.0000", "EUR"))
    (row,) = await record.reservations.of("trip")
    assert row.state == "reserved"


async def test_steps_that_are_priced_at_once_together_stay_below_the_most(pair: Pair) -> None:
    most = Price("240.00", "EUR")
    for number in range(5):
        own = wanted(f"trip-{number}", max_price=most)
        for kind in KINDS[:3]:
            await pair[0].outside.begin_try(own, kind, OUTSIDE, NOON)
        answers = await asyncio.gather(
            *(
                pair[place % 2].outside.hold(own, kind, EUROS, 900.0, None, 0.5)
                for place, kind in enumerate(KINDS[:3])
            ),
            return_exceptions=True,
        )
        (refused,) = [each for each in answers if each is not None]
        assert isinstance(refused, ReservationRefused)
        assert str(refused) == "The trip costs 360.00 EUR, and may cost 240.00 EUR at the most"


# The schema


def indexes(database_url: str) -> dict[str, str]:
    """Return each index of the reservations by its name, with what it says of its rows."""
    with transaction(database_url) as connection:
        if connection.dialect.name == "sqlite":
            said = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            where = " AND tbl_name = 'reservations'"
        else:
            said = "SELECT indexname, indexdef FROM pg_indexes"
            where = " WHERE tablename = 'reservations'"
        return {name: str(sql) for name, sql in connection.execute(sa.text(said + where))}


async def test_the_indexes_of_the_reservations_survive_the_migration_there_and_back(
    brand_new_url: str,
) -> None:
    await migrate(brand_new_url)
    now = indexes(brand_new_url)
    assert len([sql for sql in now.values() if " WHERE " in sql]) == 2
    back_to(brand_new_url, "0011")
    before = indexes(brand_new_url)
    await migrate(brand_new_url)
    assert indexes(brand_new_url) == now == before


async def test_a_database_where_something_is_held_does_not_go_back(brand_new_url: str) -> None:
    async with Record.open(brand_new_url) as record:
        await record.database.prepare()
        await held(record)
        await hold(record, "hotel", None, EUROS, wanted("another"))
    with pytest.raises(IntegrityError):
        back_to(brand_new_url, "0011")
    async with Record.open(brand_new_url) as record:
        for kind in KINDS:
            await record.reservations.cancel(wanted(), kind)
        await record.outside.begin_cancel(wanted("another"), "hotel")
        await record.trips.tell(wanted(), news("expired", 9))
        before = await record.trips.page(5)
    back_to(brand_new_url, "0011")
    await migrate(brand_new_url)
    async with Record.open(brand_new_url) as record:
        after = await record.trips.page(5)
    assert [row.status for row in after] == [row.status for row in before]
    # What is known of prices and times is lost on the way.
    assert {(row.expires_at, row.price) for row in after} == {(None, None)}


async def test_no_state_is_written_that_nobody_knows(record: Record) -> None:
    await held(record)
    with pytest.raises(IntegrityError):
        execute(record, sa.update(reservations).values(state="parked"))
