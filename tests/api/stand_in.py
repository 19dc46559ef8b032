"""A stand-in for `Bookings`, so that tests of the API and the pages need neither Temporal nor a
record."""

import asyncio
import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from temporalio.client import Client

from api import SharedLoopFlask
from api.examples import CURSOR
from bookings import (
    BookingConflict,
    BookingDiffers,
    BookingNotFound,
    Bookings,
    Caller,
    EventNotFound,
    RecordedTrip,
    StepProgress,
    UnknownCursor,
)
from record import Action, Event
from settings import Settings
from shared import KINDS, Kind, StepState, TripStatus
from starter import create_app
from tests.api.api_client import JOHN, Api

STATES: dict[TripStatus, StepState] = {
    "running": "booking",
    "held": "held",
    "booked": "booked",
    "rolled_back": "undone",
    "expired": "undone",
    "cancelled": "undone",
    "needs_attention": "stuck",
}
"""How all steps of a trip of that status stand here."""

ODD_IDS = [
    *("now", "a/b", "a/cancel", "a/undo/car/retry", "/a//b/", "a/../b", "a\nb", "/x" * 500),
    *("a?b=c#d", "50%", "a%2Fb", "a b\u00e9\U0001f9f3", "trips", "//evil.example"),
]
"""Ids that a workflow may have which somebody starts by hand."""

Gone = Callable[[], bool] | None
OPEN = ("running", "held", "needs_attention")
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


class StandIn(Bookings):
    """Answers as a test says. It inherits so that mypy compares what its methods take.

    It keeps trips, and knows nothing of what becomes of them: a new one has the status `becomes`.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new."""
        self.admit = None
        self.waits = cast(Any, SimpleNamespace(max_long_polls=0, long_polls=0))
        self.trips: dict[str, RecordedTrip] = {}
        self.happened: list[Event] = []
        """The events."""
        self._keys: dict[tuple[str, str], str] = {}
        self.becomes: TripStatus = "booked"
        self.reason: str | None = None
        """Of new trips."""
        self.fails: Exception | None = None
        """Is raised by every method."""
        self.fails_after_acceptance: Exception | None = None
        """Is raised when a trip was accepted and its id told."""
        self.obstacle: str | None = None
        self.waiting = 0
        """How many requests wait now."""
        self._over = threading.Event()

    def add(self, status: TripStatus, owner: str = "anonymous", **changes: Any) -> RecordedTrip:
        """Add a trip."""
        trip_id = changes.get("trip_id", f"john-doe-{len(self.trips):029d}")
        trip = trip_of(status, owner, trip_id=trip_id) | changes
        self.trips[trip["trip_id"]] = RecordedTrip(**trip)
        return self.trips[trip["trip_id"]]

    def set(self, user_id: str, status: TripStatus, **changes: Any) -> RecordedTrip:
        """Have a trip stand otherwise."""
        before = self.trips[user_id]
        now = trip_of(status, before.owner, user_id, before.request)
        self.trips[user_id] = dataclasses.replace(before, **now | changes)
        return self.trips[user_id]

    def end_waits(self) -> None:
        """Have all requests answered that wait."""
        self._over.set()

    async def book(
        self,
        user_id: str,
        request: Mapping[str, Any],
        owner: str,
        seconds: float,
        gone: Gone = None,
        *,
        key: str | None = None,
        on_id: Callable[[str], object] | None = None,
    ) -> RecordedTrip:
        self._may_fail()
        known = self._keys.get((owner, key)) if key else None
        if known is None:
            if self.admit is not None:
                self.admit(owner)
            self.trips[user_id] = RecordedTrip(
                **trip_of(self.becomes, owner, user_id, request) | {"reason": self.reason}
            )
            if key:
                self._keys[owner, key] = user_id
            if self.on_accepted is not None:
                self.on_accepted()
        trip = self.trips[known or user_id]
        if on_id is not None:
            on_id(trip.trip_id)
        if trip.request != request:
            raise BookingDiffers
        if self.fails_after_acceptance is not None:
            raise self.fails_after_acceptance
        return await self._after(trip, seconds, gone)

    async def look_up(self, user_id: str, caller: Caller) -> RecordedTrip:
        self._may_fail()
        trip = self.trips.get(user_id)
        if trip is None or not _may_see(caller, trip):
            raise BookingNotFound
        return trip

    async def look_up_after(
        self, trip: RecordedTrip, seconds: float, gone: Gone = None
    ) -> RecordedTrip:
        return await self._after(trip, seconds, gone)

    async def page(
        self, status: TripStatus | None, limit: int, cursor: str | None, caller: Caller
    ) -> tuple[list[RecordedTrip], str | None]:
        self._may_fail()
        ids = [
            trip.trip_id
            for trip in reversed(self.trips.values())
            if _may_see(caller, trip) and status in (None, trip.status)
        ]
        cursor = None if cursor == CURSOR else cursor
        if cursor is not None and cursor not in ids:
            raise UnknownCursor
        ids = ids[ids.index(cursor) + 1 if cursor else 0 :]
        page = [self.trips[user_id] for user_id in ids[:limit]]
        return page, page[-1].trip_id if len(ids) > limit else None

    async def cancel(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone = None
    ) -> RecordedTrip:
        trip = await self.look_up(user_id, caller)
        if trip.status == "rolled_back":
            raise BookingConflict("The booking was rolled back; nothing is left to cancel.")
        if trip.status == "booked":
            actions = [*trip.actions, Action(NOON, caller.name, "cancel")]
            trip = self.set(user_id, "cancelled", booked_at=NOON, actions=actions)
        return await self._after(trip, seconds, gone)

    async def confirm(
        self, user_id: str, caller: Caller, seconds: float, gone: Gone = None
    ) -> RecordedTrip:
        trip = await self.look_up(user_id, caller)
        if trip.status == "held":
            trip = self.set(user_id, "booked", confirmed_at=NOON)
        elif trip.confirmed_at is None:
            raise BookingConflict(f"The trip's status is {trip.status}; it is not held.")
        return await self._after(trip, seconds, gone)

    async def repair(
        self, user_id: str, kind: Kind, caller: Caller, note: str | None = None
    ) -> RecordedTrip:
        trip = await self.look_up(user_id, caller)
        state: StepState = "undone" if note is None else "resolved"
        steps = [
            dataclasses.replace(step, state=state, note=note, undo_seconds=0.2)
            if (step.kind, step.state) == (kind, "stuck")
            else step
            for step in trip.steps
        ]
        if steps == trip.steps:
            raise BookingConflict(f"The undo of the {kind} is not stuck.")
        repair = Action(NOON, caller.name, "retry" if note is None else "resolve", kind, note)
        return self.set(user_id, trip.status, steps=steps, actions=[*trip.actions, repair])

    def happens(self, owner: str = "anonymous", **changes: Any) -> Event:
        """Add an event, which is not delivered."""
        number = len(self.happened) + 1
        told = Event(
            event_id=f"evt_{number}",
            trip_id=f"trip-{number}",
            owner=owner,
            status="booked",
            sequence=1,
            at=NOON,
            position=number,
            delivery="begun",
            failures=0,
            last_error=None,
            due_at=NOON,
        )
        self.happened.append(dataclasses.replace(told, **changes))
        return self.happened[-1]

    async def events(self, after: str, limit: int, caller: Caller) -> tuple[list[Event], str]:
        self._may_fail()
        found = [
            each
            for each in self.happened[int(after) :]
            if caller.operator or caller.name == each.owner
        ][:limit]
        return found, str(found[-1].position) if found else after

    async def undelivered(self, limit: int) -> list[Event]:
        self._may_fail()
        return [each for each in self.happened if each.delivery in ("begun", "given_up")][:limit]

    async def deliver_again(self, event_id: str, caller: Caller) -> Event:
        self._may_fail()
        for number, event in enumerate(self.happened):
            if event.event_id == event_id and event.delivery is None:
                raise BookingConflict("There was no webhook.")
            if event.event_id == event_id:
                again = dataclasses.replace(event, delivery="again", failures=0, last_error=None)
                self.happened[number] = again
                return again
        raise EventNotFound

    async def check_ready(self) -> str | None:
        return self.obstacle

    def stop_waiting(self) -> None:
        self.end_waits()

    async def _after(self, trip: RecordedTrip, seconds: float, gone: Gone) -> RecordedTrip:
        if seconds and trip.status in OPEN and trip.status != "held":
            self.waiting += 1
            deadline = asyncio.get_running_loop().time() + seconds
            while not (self._over.is_set() or asyncio.get_running_loop().time() > deadline):
                if gone is not None and gone():
                    break
                await asyncio.sleep(0.005)
            self.waiting -= 1
        return self.trips[trip.trip_id]

    def _may_fail(self) -> None:
        if self.fails is not None:
            raise self.fails


def trip_of(
    status: TripStatus, owner: str, trip_id: str, request: Mapping[str, Any] = JOHN
) -> dict[str, Any]:
    """Return what makes a trip of that status."""
    state = STATES[status]
    steps = [StepProgress(kind, request[kind], state, 1, held=state == "booked") for kind in KINDS]
    return {
        "trip_id": trip_id,
        "workflow_id": trip_id,
        "first_run_id": "a-run",
        "owner": owner,
        "status": status,
        "request": dict(request),
        "accepted_at": NOON,
        "closed_at": None if status in OPEN else NOON + dt.timedelta(seconds=2),
        "steps": steps,
        "booked_at": NOON if status == "booked" else None,
        "expires_at": NOON + dt.timedelta(minutes=15) if status in ("held", "expired") else None,
    }


def app_over(bookings: Bookings, **settings: Any) -> SharedLoopFlask:
    """Return the app as `starter` composes it, less what would ask Temporal or a record."""
    with patch("starter.Bookings", lambda *_: bookings):
        return create_app(cast(Client, object()), Settings(**settings))


def over(bookings: Bookings, **settings: Any) -> Api:
    """Return a caller of the API over the stand-in."""
    return Api(app_over(bookings, **settings).test_client())


async def until_waiting(bookings: StandIn, count: int) -> None:
    """Return once so many requests wait."""
    async with asyncio.timeout(20):
        while bookings.waiting < count:
            await asyncio.sleep(0.005)


def _may_see(caller: Caller, trip: RecordedTrip) -> bool:
    return caller.operator or caller.name == trip.owner
