"""The page of a trip, which keeps itself up to date."""

import datetime as dt
import hashlib

from flask import Blueprint, Response, make_response, render_template, request

from api import Options, Places, caller, links_of, needs_key
from bookings import Bookings, Trip
from pages.wording import goes_back, may_be_cancelled, motion

INTERVAL_MS = 900
"""How often the page of a running trip asks for news."""

SLOW_INTERVAL_MS = 2_000
"""How often it does once the trip takes longer than most trips do: many pages that wait for a slow
supplier then cost half as much."""

SLOW_AFTER = dt.timedelta(seconds=15)

LONG_INTERVAL_MS = 5_000
"""How often the page of a booked trip does: somebody may cancel it elsewhere."""


def add_trip_page(pages: Blueprint, bookings: Bookings, options: Options, looks: Places) -> None:
    """Add the page of a trip, and the view that an open page asks for news."""

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
    @needs_key("if sent")
    async def trip(user_id: str) -> str:
        """Show a trip."""
        return shown("trip.html", await bookings.look_up(user_id, caller()))

    @pages.get("/trips/<user_id>/now")
    async def trip_now(user_id: str) -> Response:
        """Return the trip as it stands now, or 204 if the page shows that already."""
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
    """Return what the caller may do: `cancel`, and each kind whose undo the caller may repair."""
    stuck = [step.kind for step in trip.steps if step.state == "stuck" and caller().operator]
    return [*stuck, *(["cancel"] if may_be_cancelled(trip) else [])]


def _interval(trip: Trip) -> int | None:
    if trip.closed_at is None:
        is_slow = dt.datetime.now(dt.UTC) - trip.started_at > SLOW_AFTER
        return SLOW_INTERVAL_MS if is_slow else INTERVAL_MS
    return LONG_INTERVAL_MS if may_be_cancelled(trip) else None
