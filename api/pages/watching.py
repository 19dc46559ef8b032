"""The page of a trip, which follows it while it moves."""

import datetime as dt
import hashlib

from flask import Blueprint, Response, make_response, render_template, request

from api.access import caller
from api.answering import links_of
from api.options import Options
from api.pages.wording import goes_back, may_be_cancelled, motion
from api.places import Places
from bookings import Bookings, Trip

INTERVAL_MS = 900
"""How often the page of a trip that is under way asks whether it has changed."""

SLOW_INTERVAL_MS = 2_000
"""How often it does once the trip takes longer than most trips do: many pages that wait for a slow
supplier then cost half as much."""

SLOW_AFTER = dt.timedelta(seconds=15)

LONG_INTERVAL_MS = 5_000
"""How often that of a booked one does, which may be cancelled elsewhere."""


def add_watching(pages: Blueprint, bookings: Bookings, options: Options, looks: Places) -> None:
    """Add the page of a trip, and what it asks to go on."""

    def shown(template: str, trip: Trip) -> str:
        return render_template(
            template,
            trip=trip,
            mark=_mark_of(trip),
            interval=_interval(trip),
            motion=motion(trip),
            goes_back=goes_back(trip),
            offers=_offers(trip),
            offered=request.args.get("offered", "").split(),
            web_ui=links_of(trip, options).web_ui,
        )

    @pages.get("/trips/<user_id>")
    async def trip(user_id: str) -> str:
        """Show a trip."""
        return shown("trip.html", await bookings.look_up(user_id, caller()))

    @pages.get("/trips/<user_id>/now")
    async def trip_now(user_id: str) -> Response:
        """Return the trip as it stands now; 204 if it is as the page has seen it."""
        with looks.place_to_look(caller().name):
            trip = await bookings.look_up(user_id, caller())
        if request.args.get("seen") == _mark_of(trip):
            return Response(status=204)
        return make_response(shown("trip_part.html", trip))


def mark_of(told: object) -> str:
    """Return a mark by which a page tells whether what it shows has changed."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _mark_of(trip: Trip) -> str:
    # The interval belongs to what the page shows, so that the page takes up a new one.
    return mark_of((trip, _interval(trip)))


def _offers(trip: Trip) -> list[str]:
    """Return what the caller may do: cancel the trip, and of which kinds to repair the undo."""
    stuck = [step.kind for step in trip.steps if step.state == "stuck" and caller().operator]
    return [*stuck, *(["cancel"] if may_be_cancelled(trip) else [])]


def _interval(trip: Trip) -> int | None:
    if trip.closed_at is None:
        is_slow = dt.datetime.now(dt.UTC) - trip.started_at > SLOW_AFTER
        return SLOW_INTERVAL_MS if is_slow else INTERVAL_MS
    return LONG_INTERVAL_MS if may_be_cancelled(trip) else None
