"""How the tests audit, and how they plant what an audit must find."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from temporalio.client import Client

from audit import Auditor, Tally
from bookings import Bookings
from record import Record, RecordedTrip
from record.tables import reservations, trips
from settings import Settings
from shared import KINDS, Execution, TripNews, TripStatus
from suppliers import Desks, Refused, Try, compose
from tests.bookings.requests import JOHN, SHOP, new_id, new_trip
from tests.conftest import IMPATIENT
from tests.conftest import trip as trip_of
from tests.faults import DEADLINE


@asynccontextmanager
async def auditing(client: Client, record: Record) -> AsyncIterator[Auditor]:
    """Yield an auditor, as a process of its own would compose it from the environment."""
    settings = Settings()
    composed = compose(record, settings)
    try:
        yield Auditor(client, record, composed.desks, IMPATIENT, settings.calls_per_second)
    finally:
        await composed.close()


class Said(list[str]):
    """The sentences of an audit. Other tests have left trips in this Temporal."""

    def of(self, *trip_ids: str) -> list[str]:
        """Return what is said of some trips, without their ids."""
        words = [line.split(" ", 2) for line in self]
        return [rest for _, trip_id, rest in words if trip_id in trip_ids]


async def audit(auditor: Auditor, *, everything: bool = False) -> tuple[Tally, Said]:
    """Audit once."""
    said = Said()
    tally = Tally(lambda each: said.append(str(each)))
    await auditor.audit(tally, everything=everything)
    return tally, said


async def said_of(auditor: Auditor, *trip_ids: str) -> list[str]:
    """Audit, and return what is said of some trips, without their ids."""
    return (await audit(auditor))[1].of(*trip_ids)


async def book(asked: Bookings, **items: str) -> str:
    """Book a trip to its end, and return its id."""
    return (await asked.book(new_id(), JOHN | items, SHOP.name, DEADLINE)).trip_id


async def book_at(desks: Desks, record: Record, **items: str) -> str:
    """Ask suppliers for a trip as its activities do, record how it ends, and return its id."""
    user_id = new_id()
    await record.trips.accept(new_trip(user_id, request=JOHN | items))
    wanted = trip_of(
        book_user_id=user_id,
        execution=Execution(user_id, "first-run"),
        **{f"book_{kind}_id": item for kind, item in items.items()},
    )
    status: TripStatus = "booked"
    reason = None
    try:
        for kind in KINDS:
            await desks[kind].book(wanted, Try())
    except Refused as refused:
        status, reason = "rolled_back", str(refused)
        for kind in reversed(KINDS):
            await desks[kind].cancel(wanted, Try())
    now = dt.datetime.now(dt.UTC)
    await record.trips.tell(wanted, TripNews(status, reason, now, now))
    return user_id


async def trip(record: Record, trip_id: str) -> RecordedTrip:
    row = await record.trips.by_id(trip_id)
    assert row is not None
    return row


async def change_trip(record: Record, trip_id: str, **values: Any) -> None:
    """Change a trip's row, past the record's code."""
    await execute(record, sa.update(trips).where(trips.c.trip_id == trip_id).values(values))


async def change_reservation(record: Record, trip_id: str, kind: str, **values: Any) -> None:
    is_it = (reservations.c.trip_id == trip_id) & (reservations.c.kind == kind)
    await execute(record, sa.update(reservations).where(is_it).values(values))


async def execute(record: Record, statement: sa.Executable) -> None:
    await record.database.write(lambda sql: sql.execute(statement))


async def held(record: Record, trip_id: str) -> dict[str, str]:
    """Return the state of each reservation of a trip."""
    return {row.kind: row.state for row in await record.reservations.of(trip_id)}
