"""Whose a trip is: the first workflow execution that claims it may change it, and no other."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from record import Record, Reservation, ReservationRefused
from record.errors import ForeignTrip
from record.tables import reservations, trips
from shared import KINDS, Execution
from tests.record.databases import rows
from tests.record.trips import NOON, accepted, news, older, trip, with_item

FOREIGN = r"\AThe id trip is another trip's\Z"

another = trip(run="another-run")
"""The trip of that id as another workflow execution passes it."""


async def test_the_first_execution_claims_an_accepted_trip(record: Record) -> None:
    await record.accept(accepted())
    await record.reserve(trip(), "car")
    row = await record.trip("trip")
    assert row is not None
    assert (row.workflow_id, row.first_run_id) == ("trip", "first-run")


async def test_a_trip_that_nobody_announced_is_recorded_by_who_first_claims_it(
    record: Record,
) -> None:
    await record.reserve(trip(name="Ada", owner="desk"), "car")
    row = await record.trip("trip")
    assert row == accepted(
        owner="desk", key_fingerprint=None, first_run_id="first-run", accepted_at=NOON
    )


async def test_another_execution_reserves_nothing(record: Record) -> None:
    await record.reserve(trip(), "car")
    for kind in KINDS:
        with pytest.raises(ForeignTrip, match=FOREIGN):
            await record.reserve(another, kind)
    assert await record.all_reservations() == [
        Reservation("trip", "car", "a-car", "reserved", "first-run")
    ]


@pytest.mark.parametrize("claimed_by", ["reserve", "cancel", "tell"])
async def test_another_execution_undoes_and_tells_nothing(
    record: Record, database_url: str, claimed_by: str
) -> None:
    match claimed_by:
        case "reserve":
            await record.reserve(trip(), "car")
        case "cancel":
            await record.cancel(trip(), "car")
        case "tell":
            await record.tell(trip(), news("booked"))
    before = rows(database_url, trips), rows(database_url, reservations)
    await record.cancel(another, "car")
    await record.settle(another, "hotel")
    await record.tell(another, news("rolled_back", after=60, reason="It is not mine"))
    assert (rows(database_url, trips), rows(database_url, reservations)) == before


async def test_of_many_executions_at_once_one_has_the_trip(pair: tuple[Record, Record]) -> None:
    runs = [f"run-{number}" for number in range(10)]
    answers = await asyncio.gather(
        *(record.reserve(trip(run=run), "car") for record in pair for run in runs),
        return_exceptions=True,
    )
    row = await pair[0].trip("trip")
    assert row is not None
    winners = {run for run, answer in zip(2 * runs, answers, strict=True) if answer is None}
    assert winners == {row.first_run_id}
    assert {type(answer) for answer in answers} == {type(None), ForeignTrip}


async def test_an_execution_that_wants_other_items_than_accepted_is_foreign(
    record: Record,
) -> None:
    await record.accept(accepted())
    for kind in KINDS:
        with pytest.raises(ForeignTrip, match=FOREIGN):
            await record.reserve(with_item(kind, "another"), "car")
    assert (await record.accept(accepted()))[0].first_run_id is None
    assert await record.all_reservations() == []
    await record.reserve(trip(), "car")


async def test_a_kind_that_only_the_request_or_the_execution_knows_is_no_other_item(
    record: Record,
) -> None:
    await record.accept(accepted(request={"car": "a-car", "train": "a-train", "hotel": None}))
    await record.reserve(trip(), "hotel")


# A trip that is older than the record


@pytest.mark.parametrize("began", [None, NOON - dt.timedelta(hours=1), NOON])
async def test_an_older_trip_is_claimed_by_an_execution_that_began_before_it(
    record: Record, began: dt.datetime | None
) -> None:
    await record.accept(older())
    await record.reserve(trip(began=began), "car")
    row = await record.trip("trip")
    assert row is not None and row.first_run_id == "first-run"


async def test_an_older_trip_is_not_claimed_by_an_execution_that_began_after_it(
    record: Record, database_url: str
) -> None:
    await record.accept(older())
    before = rows(database_url, trips)
    late = trip(began=NOON + dt.timedelta(minutes=2))
    with pytest.raises(ForeignTrip, match=FOREIGN):
        await record.reserve(late, "hotel")
    await record.cancel(late, "car")
    await record.tell(late, news("rolled_back", after=300))
    assert rows(database_url, trips) == before
    assert await record.all_reservations() == []


async def test_an_older_trip_is_claimed_by_its_cancellation(record: Record) -> None:
    await record.accept(older(status="booked", closed_at=NOON))
    await record.begin_cancellation("trip")
    cancellation = trip(
        execution=Execution("cancellation:trip", "its-run", dt.datetime.now(dt.UTC))
    )
    await record.cancel(cancellation, "car")
    row = await record.trip("trip")
    assert row is not None
    assert (row.workflow_id, row.first_run_id) == ("trip", "its-run")
    assert [row.state for row in await record.all_reservations()] == ["cancelled"]


# A trip that is over


@pytest.mark.parametrize("status", ["rolled_back", "cancelled"])
async def test_a_trip_that_ended_without_reservations_reserves_nothing_any_more(
    record: Record, status: Any
) -> None:
    await record.tell(trip(), news(status))
    for kind in KINDS:
        with pytest.raises(ReservationRefused, match=r"\ATrip trip is over\Z"):
            await record.reserve(trip(), kind)
    assert await record.all_reservations() == []


async def test_a_trip_that_was_withdrawn_before_anybody_claimed_it_reserves_nothing(
    record: Record,
) -> None:
    await record.accept(accepted())
    await record.withdraw("trip", "cancelled", "Nobody started it")
    with pytest.raises(ReservationRefused, match="is over"):
        await record.reserve(trip(), "car")
    await record.cancel(trip(), "car")
    assert [row.state for row in await record.all_reservations()] == ["cancelled"]


async def test_a_withdrawal_that_races_the_first_reserve_leaves_one_of_them_only(
    pair: tuple[Record, Record],
) -> None:
    record, other = pair
    for number in range(30):
        await record.accept(accepted(f"trip-{number}"))
        withdrawn, reserved = await asyncio.gather(
            record.withdraw(f"trip-{number}", "rolled_back", "Nobody started it"),
            other.reserve(trip(f"trip-{number}"), "car"),
            return_exceptions=True,
        )
        row = await record.trip(f"trip-{number}")
        assert row == withdrawn
        held = await record.reservations_of(f"trip-{number}")
        assert (row.status, bool(held)) in [("rolled_back", False), ("running", True)]
        assert isinstance(reserved, ReservationRefused) is not bool(held)


async def test_a_booked_trip_may_still_be_asked_for_what_it_holds(record: Record) -> None:
    await record.reserve(trip(), "car")
    await record.tell(trip(), news("booked"))
    await record.reserve(trip(), "car")
