"""Databases of earlier versions, which are migrated with their trips."""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from record import (
    UNHELD,
    Record,
    RecordedTrip,
    ReservationRefused,
    StepProgress,
    promises_now,
)
from shared import KINDS, Execution
from tests.record.databases import at, back_to, execute, on_sqlite, rows, transaction
from tests.record.trips import NOON, OF_THREE, accepted, later, news, trip, trip_in

OF_2_0_0 = CAR, HOTEL, FLIGHT = KINDS[:3]


@pytest.fixture
def database_url(brand_new_url: str) -> str:
    """A database that nobody has prepared: the tests bring it to an earlier schema."""
    return brand_new_url


async def migrated(database_url: str) -> dict[str, RecordedTrip]:
    """Migrate a database and return its trips by id."""
    async with Record.open(database_url) as record:
        await record.database.migrate()
        return {row.trip_id: row for row in await record.trips.page(10_000)}


# The first version, which had reservations only (0002)


def of_0002(*held: tuple[str, str, str | None, str]) -> sa.Insert:
    """Return a statement that writes reservations as 0002 had them, a minute apart."""
    table = sa.table(
        "reservations",
        *(sa.column(name) for name in ("trip_id", "kind", "item", "state")),
        *(sa.column(name, sa.DateTime(timezone=True)) for name in ("created_at", "updated_at")),
    )
    return sa.insert(table).values(
        [
            {
                "trip_id": trip_id,
                "kind": kind,
                "item": item,
                "state": state,
                "created_at": NOON + dt.timedelta(minutes=number),
                "updated_at": NOON + dt.timedelta(minutes=number, seconds=30),
            }
            for number, (trip_id, kind, item, state) in enumerate(held)
        ]
    )


SHAPES = of_0002(
    ("booked", "hotel", "a-hotel", "reserved"),
    ("booked", "car", "a-car", "reserved"),
    ("booked", "flight", "a-flight", "reserved"),
    ("undone", "car", "a-car", "cancelled"),
    ("undone", "flight", None, "cancelled"),
    ("tombstone", "car", None, "cancelled"),
    ("part", "car", "a-car", "reserved"),
    ("part", "hotel", "a-hotel", "reserved"),
    ("half-undone", "car", "a-car", "reserved"),
    ("half-undone", "hotel", "a-hotel", "cancelled"),
)


def minutes(minute: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=minute)


async def test_trips_are_derived_from_the_reservations_of_0002(database_url: str) -> None:
    at(database_url, "0002")
    execute(database_url, SHAPES)
    held = rows(database_url, sa.table("reservations", sa.column("trip_id"), sa.column("item")))
    began = dt.datetime.now(dt.UTC)
    found = await migrated(database_url)
    ended = found["part"].closed_at
    assert ended is not None and began <= ended <= dt.datetime.now(dt.UTC)
    undone = {
        "status": "rolled_back",
        "reason": "It was rolled back or cancelled before trips were recorded",
    }
    under_way = {
        "status": "needs_attention",
        "reason": "It was under way before trips were recorded; reservations may still be held",
        "request": {"car": "a-car", "hotel": "a-hotel"},
        "closed_at": ended,
    }
    everything = {kind: f"a-{kind}" for kind in OF_2_0_0}
    booked = {"status": "booked", "booked_at": minutes(2.5), "closed_at": minutes(2.5)}
    expected = [
        derived("booked", 0, request=everything, **booked),
        derived("undone", 3, request={"car": "a-car"}, closed_at=minutes(4.5), **undone),
        derived("tombstone", 5, closed_at=minutes(5.5), **undone),
        derived("part", 6, **under_way),
        derived("half-undone", 8, **under_way),
    ]
    assert found == {row.trip_id: row for row in expected}
    states = {each: " ".join(step.state for step in row.steps) for each, row in found.items()}
    assert states == {
        "booked": "booked booked booked",
        "undone": "undone",
        "tombstone": "",
        "part": "booked booked",
        "half-undone": "booked undone",
    }
    kept = rows(database_url, sa.table("reservations", sa.column("trip_id"), sa.column("item")))
    assert sorted(map(str, kept)) == sorted(map(str, held))


def derived(trip_id: str, minute: float, **changes: Any) -> RecordedTrip:
    values: dict[str, Any] = {
        "owner": "",
        "request": {},
        "key_fingerprint": None,
        "first_run_id": None,
        "accepted_at": minutes(minute),
        **changes,
    }
    return accepted(trip_id, **values)


# Version 2.0.0, where a trip's row had what its workflow told of its steps (0006)


TIME = sa.DateTime(timezone=True)

TRIPS = sa.table(
    "trips",
    *(sa.column(name) for name in ("trip_id", "owner", "key_fingerprint", "status", "reason")),
    *(sa.column(name) for name in ("workflow_id", "first_run_id")),
    *(sa.column(name, sa.JSON(none_as_null=True)) for name in ("request", "steps")),
    *(sa.column(name, TIME) for name in ("accepted_at", "booked_at", "cancelled_at")),
    *(sa.column(name, TIME) for name in ("told_at", "closed_at")),
)

RESERVATIONS = sa.table(
    "reservations",
    *(sa.column(name) for name in ("trip_id", "kind", "item", "state", "first_run_id")),
    *(sa.column(name) for name in ("supplier", "reference")),
    *(sa.column(name, TIME) for name in ("over_at", "created_at", "updated_at")),
)

Step = dict[str, Any]


def told(kind: str, state: str, attempts: int = 1, undo_attempts: int = 0, **more: Any) -> Step:
    """Return what a workflow of 2.0.0 has told of a step."""
    step = {
        "kind": kind,
        "item": f"a-{kind}",
        "state": state,
        "attempts": attempts,
        "undo_attempts": undo_attempts,
        "last_error": None,
        "note": None,
        "held": state == "booked",
        "reference": None,
        "booking_seconds": 0.5 if attempts else None,
        "undo_seconds": 0.25 if undo_attempts else None,
    }
    return step | more


def row(kind: str, state: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "item": f"a-{kind}", "state": state} | more


def undone(kind: str, attempts: int = 1, **more: Any) -> Step:
    return told(kind, "undone", attempts, 1, **more)


def untried(kind: str) -> Step:
    return told(kind, "pending", 0)


def older(step: Step) -> Step:
    """Return what the first versions that told anything told of a step."""
    return {
        name: step[name]
        for name in ("kind", "item", "state", "attempts", "undo_attempts", "last_error")
    }


def key_of_2_0_0(trip_id: str) -> str:
    """Return what 2.0.0 kept of the shop's key of a trip."""
    return hashlib.sha256(f"shop\nkey of {trip_id}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Shape:
    """A trip as a database of 2.0.0 has it, and what is told of it otherwise than before."""

    status: str
    told: list[Step] | None
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the trip's row."""
    otherwise: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Of its steps, by kind."""

    def row(self, trip_id: str) -> dict[str, Any]:
        """Return the row of the trip."""
        return {
            **dict.fromkeys(column.name for column in TRIPS.columns),
            "trip_id": trip_id,
            "owner": "shop",
            "key_fingerprint": key_of_2_0_0(trip_id),
            "status": self.status,
            "request": OF_THREE,
            "workflow_id": trip_id,
            "first_run_id": "first-run",
            "accepted_at": NOON,
            "told_at": later(60),
            "closed_at": later(60),
            "steps": self.told,
            **self.changes,
        }

    def reservations(self, trip_id: str) -> list[dict[str, Any]]:
        """Return the rows of the trip's reservations."""
        every = dict.fromkeys(column.name for column in RESERVATIONS.columns)
        every |= {"trip_id": trip_id, "first_run_id": "first-run"}
        every |= {"created_at": NOON, "updated_at": NOON}
        return [every | each for each in self.rows]

    def steps(self) -> list[StepProgress]:
        before = self.told or [untried(kind) for kind in OF_2_0_0]
        return [StepProgress(**step | self.otherwise.get(step["kind"], {})) for step in before]


ALL_BOOKED = [row(kind, "reserved") for kind in OF_2_0_0]
ALL_UNDONE = [row(kind, "cancelled") for kind in OF_2_0_0]
OPEN = {"closed_at": None}
# What failed was never booked, so that it took no time to book it.
FAILED = {"booking_seconds": None}

SHAPES_OF_2_0_0 = {
    "booked": Shape("booked", [told(kind, "booked") for kind in OF_2_0_0], ALL_BOOKED),
    "booked-after-retries": Shape(
        "booked",
        [
            told(CAR, "booked", 3, last_error="Down", booking_seconds=3.5),
            told(HOTEL, "booked", 1, reference="H-1"),
            told(FLIGHT, "booked", 2, last_error="odd \0 \ud800 words"),
        ],
        [
            row(CAR, "reserved"),
            row(HOTEL, "reserved", supplier="hotels.example", reference="H-1"),
            row(FLIGHT, "reserved"),
        ],
        {"booked_at": later(60)},
        {FLIGHT: {"last_error": "odd \ufffd ? words"}},
    ),
    "rolled-back-at-the-flight": Shape(
        "rolled_back",
        [undone(CAR), undone(HOTEL), undone(FLIGHT, 3, last_error="No") | {"undo_attempts": 2}],
        [*ALL_UNDONE[:2], row(FLIGHT, "cancelled", item=None)],
        {"reason": "No"},
        {FLIGHT: FAILED},
    ),
    "cancelled-on-its-way": Shape(
        "cancelled",
        [undone(CAR), undone(HOTEL, booking_seconds=None), untried(FLIGHT)],
        ALL_UNDONE[:2],
    ),
    "stuck": Shape(
        "needs_attention",
        [
            undone(CAR),
            told(HOTEL, "stuck", 1, 3, held=True, last_error="No refund", undo_seconds=None),
            undone(FLIGHT, 2),
        ],
        [
            row(CAR, "cancelled"),
            row(HOTEL, "cancelling", supplier="hotels.example"),
            row(FLIGHT, "cancelled"),
        ],
        OPEN,
    ),
    "stuck-with-what-was-never-booked": Shape(
        "needs_attention",
        [
            told(CAR, "stuck", 2, 3, last_error="No answer", booking_seconds=None, held=False),
            untried(HOTEL),
            untried(FLIGHT),
        ],
        [],
        OPEN,
    ),
    "settled-since-it-was-stuck": Shape(
        "needs_attention",
        [told(CAR, "stuck", 1, 3), *(undone(kind) for kind in (HOTEL, FLIGHT))],
        ALL_UNDONE,
        OPEN,
        {CAR: {"state": "undone", "booking_seconds": None}},
    ),
    "resolved": Shape(
        "cancelled",
        [
            undone(CAR),
            told(HOTEL, "resolved", 1, 4, last_error="No refund", note="By telephone"),
            undone(FLIGHT),
        ],
        ALL_UNDONE,
        {"cancelled_at": later(40)},
    ),
    "stopped": Shape(
        "needs_attention",
        [
            told(CAR, "booked"),
            told(HOTEL, "booking", 2, last_error="Down", booking_seconds=None),
            untried(FLIGHT),
        ],
        ALL_BOOKED[:1],
        {"reason": "The workflow was stopped from outside"},
    ),
    "stopped-after-a-failure": Shape(
        "needs_attention",
        [told(CAR, "booked"), told(HOTEL, "failed", 3, booking_seconds=None), untried(FLIGHT)],
        ALL_BOOKED[:1],
    ),
    "running": Shape(
        "running",
        None,
        ALL_BOOKED[:1],
        {**OPEN, "told_at": None},
        {
            CAR: {"state": "booked", "attempts": 1, "held": True, "booking_seconds": 0.0},
            HOTEL: {"state": "booking", "attempts": 1},
        },
    ),
    "booked-and-told-by-an-older-version": Shape(
        "booked",
        [older(told(kind, "booked", 2)) for kind in OF_2_0_0],
        ALL_BOOKED,
        {},
        {kind: {"held": True, "booking_seconds": 0.0} for kind in OF_2_0_0},
    ),
    "rolled-back-and-told-by-an-older-version": Shape(
        "rolled_back",
        [older(undone(CAR, 2)), older(undone(HOTEL, 3, last_error="No")), older(untried(FLIGHT))],
        ALL_UNDONE[:2],
    ),
}


def write(database_url: str, shapes: dict[str, Shape]) -> None:
    """Make a brand-new database one of 2.0.0 with trips of these shapes, by id."""
    at(database_url, "0006")
    reserved = [row for trip_id, each in shapes.items() for row in each.reservations(trip_id)]
    with transaction(database_url) as sql:
        sql.execute(sa.insert(TRIPS), [each.row(trip_id) for trip_id, each in shapes.items()])
        if reserved:
            sql.execute(sa.insert(RESERVATIONS), reserved)


@pytest.fixture
async def of_2_0_0(database_url: str) -> AsyncIterator[Record]:
    """The record over a database of 2.0.0 with a trip of every shape, migrated."""
    write(database_url, SHAPES_OF_2_0_0)
    async with Record.open(database_url) as record:
        await record.database.migrate()
        yield record


async def test_the_trips_of_2_0_0_are_told_as_before(of_2_0_0: Record) -> None:
    found = {row.trip_id: row for row in await of_2_0_0.trips.page(100, owner="shop")}
    assert set(found) == set(SHAPES_OF_2_0_0)
    for trip_id, shape in SHAPES_OF_2_0_0.items():
        assert found[trip_id].steps == shape.steps(), trip_id
        changes: dict[str, Any] = {
            "status": shape.status,
            "request": OF_THREE,
            "key_fingerprint": key_of_2_0_0(trip_id),
            "first_run_id": "first-run",
            "told_at": later(60),
            "closed_at": later(60),
            **shape.changes,
        }
        assert found[trip_id] == accepted(trip_id, **changes), trip_id
    # Also after the caller was renamed, twice.
    for old, new in (("shop", "store"), ("store", "market")):
        row, is_new = await of_2_0_0.trips.accept(accepted("new", owner=old), "key of stuck")
        assert (row.trip_id, is_new) == ("stuck", False)
        assert (await of_2_0_0.owners.hand_over(old, new))[0] == len(SHAPES_OF_2_0_0)
    row, is_new = await of_2_0_0.trips.accept(accepted("new", owner="market"), "key of stuck")
    assert (row.trip_id, is_new) == ("stuck", False)


async def test_the_trips_of_2_0_0_are_cancelled_as_before(of_2_0_0: Record) -> None:
    rows = await of_2_0_0.trips.page(100)
    over = [row.trip_id for row in rows if row.closed_at and row.status not in UNHELD]
    assert len(over) >= 4
    for trip_id in over:
        begun = await of_2_0_0.trips.begin_cancellation(trip_id)
        assert (begun.status, begun.closed_at) == ("running", None), trip_id
        own = trip(trip_id, execution=Execution(f"cancellation:{trip_id}", "first-run"))
        for kind in reversed(OF_2_0_0):
            held = await of_2_0_0.outside.begin_cancel(own, kind)
            assert (held is not None) is (kind == HOTEL and trip_id == "booked-after-retries")
            await of_2_0_0.outside.released(own, kind)
        await of_2_0_0.trips.tell(own, news("cancelled", 3_600))
        ended = await trip_in(of_2_0_0, trip_id)
        assert ended.status == "cancelled", trip_id
        assert {(step.state, step.held) for step in ended.steps} == {("undone", False)}, trip_id


async def test_what_was_undone_or_is_stuck_in_2_0_0_refuses_bookings_and_can_be_resolved(
    of_2_0_0: Record,
) -> None:
    for row in await of_2_0_0.reservations.everything():
        if row.state == "cancelled" or row.verdict is not None:
            with pytest.raises(ReservationRefused):
                await of_2_0_0.reservations.reserve(trip(row.trip_id), row.kind)
    waiting = await promises_now(of_2_0_0.database, dt.timedelta(hours=1))
    assert waiting["undos_stuck"] == 2
    await of_2_0_0.reservations.resolve(trip("stuck"), "hotel", "By telephone")
    assert (await trip_in(of_2_0_0, "stuck")).steps[1].state == "resolved"


async def test_a_migrated_database_goes_back_to_2_0_0_and_comes_again(database_url: str) -> None:
    write(database_url, SHAPES_OF_2_0_0)
    before = rows(database_url, TRIPS)
    first = await migrated(database_url)
    back_to(database_url, "0006")
    assert sorted(map(str, rows(database_url, TRIPS))) == sorted(map(str, before))
    again = await migrated(database_url)
    assert again == first
    assert {each: row.steps for each, row in again.items()} == {
        each: row.steps for each, row in first.items()
    }


async def test_what_2_0_0_would_take_for_a_booking_does_not_go_back_to_it(
    database_url: str,
) -> None:
    async with Record.open(database_url) as record:
        await record.reservations.reserve(trip(), CAR)
        await record.reservations.count_failure(trip(), HOTEL, "No answer", final=False)
        await record.outside.begin_try(trip(), FLIGHT, "flights.example", NOON)
    back_to(database_url, "0006")
    columns = (RESERVATIONS.c.kind, RESERVATIONS.c.state)
    found = rows(database_url, sa.select(*columns).subquery())
    assert sorted(found) == sorted([(CAR, "reserved"), (FLIGHT, "asked")])


@on_sqlite
async def test_more_trips_of_2_0_0_than_one_batch_are_migrated(database_url: str) -> None:
    shape = SHAPES_OF_2_0_0["stuck-with-what-was-never-booked"]
    write(database_url, {f"trip-{number}": shape for number in range(1_100)})
    found = await migrated(database_url)
    assert len(found) == 1_100
    assert {row.steps[0].undo_attempts for row in found.values()} == {3}
