"""What the tests ask of the bookings, for whom, and of whom a client may ask nothing."""

import contextlib
import datetime as dt
import uuid
from dataclasses import replace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

from temporalio.client import Client
from temporalio.service import RPCError

from bookings import Bookings, Caller, acting_workflow
from record import Record, RecordedTrip
from shared import KINDS, Execution, Kind, StepState, TripNews
from tests.conftest import trip
from tests.faults import DEADLINE, FaultyRecord, Gate, refuse_for_good

JOHN: dict[str, Any] = {
    "name": "John Doe",
    "attempts": 5,
    **{str(kind): f"valid-{kind}-id" for kind in KINDS},
}
LAST = KINDS[-1]
DOOMED = JOHN | {LAST: f"invalid-{LAST}-id"}
NO_LAST = f"Invalid {LAST} booking, rolling back!"

SHOP = Caller("shop", operator=False)
DESK = Caller("desk", operator=True)


class Unasked:
    """A client that nobody may ask anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"Temporal was asked: {name}")


UNASKED = cast(Client, Unasked())


def stub() -> MagicMock:
    """Return a client whose workflows start, and of which nothing more is known."""
    client = MagicMock()
    client.start_workflow = AsyncMock()
    return client


def started(client: MagicMock) -> list[str]:
    """Return the ids of the workflows that a stub was to start."""
    return [call.kwargs["id"] for call in client.start_workflow.await_args_list]


def new_id() -> str:
    return f"john-{uuid.uuid4().hex}"


def new_trip(user_id: str, **changes: Any) -> RecordedTrip:
    """Return the row of a trip that the shop has asked for."""
    row = RecordedTrip(user_id, SHOP.name, dict(JOHN), "running", user_id, dt.datetime.now(dt.UTC))
    return replace(row, **changes)


async def planted(record: Record, status: str = "booked", **changes: Any) -> str:
    """Write a trip as its workers have left it, and return its id. Temporal has forgotten it.

    One that is running has all but the last step.
    """
    user_id = new_id()
    await record.trips.accept(new_trip(user_id, **changes))
    await leave(record, user_id, status)
    return user_id


async def leave(record: Record, user_id: str, status: str) -> None:
    """Bring an accepted trip to where `planted` writes one."""
    wanted = trip(book_user_id=user_id, execution=Execution(user_id, "first-run"))
    now = dt.datetime.now(dt.UTC)
    rows = record.reservations
    for kind in KINDS if status == "booked" else KINDS[:-1]:
        await rows.reserve(wanted, kind)
    if status == "booked":
        await record.trips.tell(wanted, TripNews("booked", None, now, now))
    if status == "rolled_back":
        await rows.count_failure(wanted, LAST, NO_LAST, final=True)
        for kind in reversed(KINDS):
            await rows.cancel(wanted, kind)
        await record.trips.tell(wanted, TripNews("rolled_back", NO_LAST, now, now))


def states(trip: RecordedTrip) -> list[StepState]:
    return [step.state for step in trip.steps]


def held(trip: RecordedTrip) -> list[Kind]:
    return [step.kind for step in trip.steps if step.held]


async def ended(asked: Bookings, user_id: str) -> RecordedTrip:
    """Return a trip once it has ended."""
    trip = await asked.look_up_after(await asked.look_up(user_id, DESK), DEADLINE)
    assert trip.closed_at is not None, "It goes on"
    return trip


async def stuck(asked: Bookings, faults: FaultyRecord) -> str:
    """Return the id of a trip whose hotel cannot be undone."""
    faults.faults["cancel", "hotel"] = refuse_for_good
    trip = await asked.book(new_id(), DOOMED, SHOP.name, DEADLINE)
    assert trip.status == "needs_attention"
    return trip.trip_id


async def leave_nothing_open(client: Client, record: Record) -> None:
    """Terminate what is open by the record: another test's worker would take it up."""
    for row in await record.trips.open_trips(dt.datetime.now(dt.UTC), "", 100):
        with contextlib.suppress(RPCError):
            await client.get_workflow_handle(acting_workflow(row)).terminate()


async def begin(asked: Bookings) -> str:
    """Begin to book a trip, and return its id."""
    return (await asked.book(new_id(), JOHN, SHOP.name, 0)).trip_id


async def half_way(
    asked: Bookings, faults: FaultyRecord, gate: Gate | None = None, kind: Kind = "flight"
) -> str:
    """Return the id of a trip whose step of `kind` is being booked, and stands at the gate."""
    faults.faults["reserve", kind] = gate = gate or Gate()
    user_id = await begin(asked)
    await gate.reached()
    return user_id
