"""Whose a trip is: the first workflow execution that claims it may change it, and no other."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from record import Record, Reservation, ReservationRefused
from record.tables import reservations
from shared import KINDS, BookVacationInput, Execution, Kind, TripStatus
from tests.record.databases import execute, unchanged
from tests.record.trips import NOON, accepted, later, news, trip, trip_in, with_item

FOREIGN = r"\AThe id trip is another trip's\Z"

another = trip(run="another-run")
"""The trip of that id as another workflow execution passes it."""


async def test_the_first_execution_claims_an_accepted_trip(record: Record) -> None:
    await record.trips.accept(accepted())
    await record.reservations.reserve(trip(), "car")
    row = await trip_in(record)
    assert (row.workflow_id, row.first_run_id) == ("trip", "first-run")


async def test_a_trip_that_nobody_announced_is_recorded_by_who_first_claims_it(
    record: Record,
) -> None:
    await record.reservations.reserve(trip(name="Ada", owner="desk"), "car")
    row = await trip_in(record)
    assert dataclasses.replace(row, accepted_at=NOON) == accepted(
        owner="desk", key_fingerprint=None, first_run_id="first-run"
    )


async def test_another_execution_reserves_nothing(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    for kind in KINDS:
        with pytest.raises(ReservationRefused, match=FOREIGN):
            await record.reservations.reserve(another, kind)
    assert await record.reservations.everything() == [
        Reservation("trip", "car", "a-car", "reserved", "first-run")
    ]


CLAIMS: dict[str, Callable[[Record], Awaitable[object]]] = {
    "reserve": lambda record: record.reservations.reserve(trip(), "car"),
    "cancel": lambda record: record.reservations.cancel(trip(), "car"),
    "tell": lambda record: record.trips.tell(trip(), news("booked")),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
async def test_another_execution_undoes_counts_and_tells_nothing(
    record: Record, claim: Callable[[Record], Awaitable[object]]
) -> None:
    await claim(record)
    with unchanged(record):
        for kind in KINDS:
            await change_all(record, another, kind)


async def change_all(record: Record, own: BookVacationInput, kind: Kind) -> None:
    """Do everything for a trip that changes a trip, but raises no error."""
    await record.reservations.cancel(own, kind)
    assert await record.outside.begin_cancel(own, kind) is None
    assert await record.reservations.count_failure(own, kind, "No room", final=True) == 0
    assert await record.reservations.count_undo_failure(own, kind, "No answer") == 0
    await record.reservations.give_up_undo(own, kind, "No answer")
    await record.reservations.resolve(own, kind, "By telephone")
    await record.trips.tell(own, news("rolled_back", after=3_600, reason="It is not mine"))


async def test_of_many_executions_at_once_one_has_the_trip(pair: tuple[Record, Record]) -> None:
    runs = [f"run-{number}" for number in range(10)]
    answers = await asyncio.gather(
        *(record.reservations.reserve(trip(run=run), "car") for record in pair for run in runs),
        return_exceptions=True,
    )
    row = await trip_in(pair[0])
    winners = {run for run, answer in zip(2 * runs, answers, strict=True) if answer is None}
    assert winners == {row.first_run_id}
    assert {type(answer) for answer in answers} == {type(None), ReservationRefused}


async def test_an_execution_that_wants_other_items_than_accepted_is_foreign(
    record: Record,
) -> None:
    await record.trips.accept(accepted())
    for kind in KINDS:
        with pytest.raises(ReservationRefused, match=FOREIGN):
            await record.reservations.reserve(with_item(kind, "another"), "car")
    assert (await record.trips.accept(accepted()))[0].first_run_id is None
    assert await record.reservations.everything() == []
    await record.reservations.reserve(trip(), "car")


async def test_a_kind_that_only_the_request_or_the_execution_knows_is_no_other_item(
    record: Record,
) -> None:
    await record.trips.accept(accepted(request={"car": "a-car", "train": "a-train", "hotel": None}))
    await record.reservations.reserve(trip(), "hotel")


# A trip that nobody has claimed, and that is over


@pytest.mark.parametrize("status", ["booked", "needs_attention", "rolled_back", "cancelled"])
async def test_who_comes_with_the_id_of_a_trip_that_is_over_is_refused(
    record: Record, status: TripStatus
) -> None:
    """A trip of the first version, for one, of which nobody noted the execution."""
    await record.trips.accept(accepted(status=status, closed_at=later(60)))
    held = sa.insert(reservations).values(
        trip_id="trip", kind="car", item="a-car", state="reserved", created_at=NOON, updated_at=NOON
    )
    execute(record, held)
    with unchanged(record):
        for kind in KINDS:
            with pytest.raises(ReservationRefused, match=FOREIGN):
                await record.reservations.reserve(trip(), kind)
            await change_all(record, trip(), kind)


async def test_only_the_cancellation_of_a_trip_that_nobody_has_claimed_claims_it(
    record: Record,
) -> None:
    await record.trips.accept(accepted(status="booked", closed_at=later(60)))
    await record.trips.begin_cancellation("trip")
    with pytest.raises(ReservationRefused, match=FOREIGN):
        await record.reservations.reserve(another, "car")
    await change_all(record, another, "car")
    cancellation = trip(execution=Execution("cancellation:trip", "its-run"))
    await record.reservations.cancel(cancellation, "car")
    row = await trip_in(record)
    assert (row.workflow_id, row.first_run_id) == ("trip", "its-run")
    assert [row.state for row in await record.reservations.everything()] == ["cancelled"]


async def test_a_trip_that_was_withdrawn_is_claimed_by_no_workflow_that_comes_late(
    record: Record,
) -> None:
    row, _ = await record.trips.accept(accepted())
    withdrawn = await record.trips.found(row, "cancelled", "Nobody started it")
    with pytest.raises(ReservationRefused, match=FOREIGN):
        await record.reservations.reserve(trip(), "car")
    await record.trips.tell(trip(), news("rolled_back"))
    assert await record.trips.by_id("trip") == withdrawn
    assert await record.reservations.everything() == []


# A trip that is over


@pytest.mark.parametrize("status", ["rolled_back", "cancelled"])
async def test_a_trip_that_ended_without_reservations_reserves_nothing_any_more(
    record: Record, status: TripStatus
) -> None:
    await record.trips.tell(trip(), news(status))
    for kind in KINDS:
        with pytest.raises(ReservationRefused, match=r"\ATrip trip is over\Z"):
            await record.reservations.reserve(trip(), kind)
    assert await record.reservations.everything() == []


async def test_a_withdrawal_that_races_the_first_reserve_leaves_one_of_them_only(
    pair: tuple[Record, Record],
) -> None:
    record, other = pair
    for number in range(30):
        row, _ = await record.trips.accept(accepted(f"trip-{number}"))
        withdrawn, reserved = await asyncio.gather(
            record.trips.found(row, "rolled_back", "Nobody started it"),
            other.reservations.reserve(trip(f"trip-{number}"), "car"),
            return_exceptions=True,
        )
        row = await trip_in(record, f"trip-{number}")
        assert row == withdrawn
        held = await record.reservations.of(f"trip-{number}")
        assert (row.status, bool(held)) in [("rolled_back", False), ("running", True)]
        assert isinstance(reserved, ReservationRefused) is not bool(held)


async def test_a_booked_trip_may_still_be_asked_for_what_it_holds(record: Record) -> None:
    await record.reservations.reserve(trip(), "car")
    await record.trips.tell(trip(), news("booked"))
    await record.reservations.reserve(trip(), "car")
