"""The pages of trips: one trip, the list, and what a trip's buttons do.

An open page asks for news again and again.
"""

import datetime as dt
import hashlib
from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from api import (
    Options,
    PageQuery,
    Places,
    ResolveRequest,
    caller,
    cancel_for_caller,
    checked,
    confirm_for_caller,
    kind_of,
    links_of,
    needs_key,
    only_once,
    operator,
)
from bookings import Bookings, RecordedTrip
from pages.wording import goes_back, left, may_be_cancelled, motion

INTERVAL_MS = 900
"""How often the page of a running trip asks for news."""

SLOW_INTERVAL_MS = 4_000
"""How often it does once the trip takes longer than most trips do: many pages that wait for a slow
supplier then cost half as much."""

SLOW_AFTER = dt.timedelta(seconds=15)

LONG_INTERVAL_MS = 5_000
"""How often the page of a booked trip does: somebody may cancel it elsewhere."""

ACTION_WAIT_SECONDS = 5.0
"""How long a cancellation or a confirm waits for its outcome before the answer leads back to the
trip's page."""


def add_trip_page(pages: Blueprint, bookings: Bookings, options: Options) -> None:
    """Add the page of a trip, and the view that an open page asks for news."""

    def shown(template: str, trip: RecordedTrip) -> str:
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

    @pages.get("/now/trips/<user_id>")
    async def trip_now(user_id: str) -> Response:
        """Return the trip as it stands now, or 204 if the page shows that already."""
        trip = await bookings.look_up(user_id, caller())
        if request.args.get("seen") == _mark_of(trip):
            return Response(status=204)
        return make_response(shown("trip_part.html", trip))


def add_trip_list(pages: Blueprint, bookings: Bookings) -> None:
    """Add the list, and the view that an open list asks for news."""

    async def listed(given: dict[str, str]) -> dict[str, Any]:
        query = checked(PageQuery, given)
        trips, next_cursor = await bookings.page(query.status, query.limit, query.cursor, caller())
        seen = [(trip.trip_id, trip.status) for trip in trips]
        return {
            "trips": trips,
            "given": given,
            "status": query.status,
            "next_cursor": next_cursor,
            "mark": mark_of(seen),
        }

    @pages.get("/trips")
    @needs_key("if sent")
    async def trips() -> str:
        """List trips, the newest first."""
        return render_template("trips.html", **await listed(only_once(request.args)))

    @pages.get("/now/trips")
    async def trips_now() -> Response:
        """Return the list as it is now, or 204 if the page shows that already."""
        given = only_once(request.args)
        seen = given.pop("seen", "")
        found = await listed(given)
        if found["mark"] == seen:
            return Response(status=204)
        return make_response(render_template("trips_now.html", **found))


def add_trip_actions(pages: Blueprint, bookings: Bookings, places: Places) -> None:
    """Add the views that a trip's buttons call. Each leads back to the trip's page."""

    def back_to(user_id: str) -> Response:
        return redirect(url_for("pages.trip", user_id=user_id), 303)

    @pages.post("/trips/<user_id>/confirm")
    async def confirm(user_id: str) -> Response:
        """Have a held trip booked."""
        await confirm_for_caller(bookings, places, user_id, ACTION_WAIT_SECONDS)
        return back_to(user_id)

    @pages.post("/trips/<user_id>/cancel")
    async def cancel(user_id: str) -> Response:
        """Begin to cancel a trip."""
        await cancel_for_caller(bookings, places, user_id, ACTION_WAIT_SECONDS)
        return back_to(user_id)

    @pages.post("/trips/<user_id>/undo/<kind>/retry")
    async def retry(user_id: str, kind: str) -> Response:
        """Try a stuck undo again now."""
        await bookings.repair(user_id, kind_of(kind), operator())
        return back_to(user_id)

    @pages.post("/trips/<user_id>/undo/<kind>/resolve")
    async def resolve(user_id: str, kind: str) -> Response:
        """Take an operator's word that a stuck undo is settled."""
        resolution = checked(ResolveRequest, only_once(request.form))
        await bookings.repair(user_id, kind_of(kind), operator(), resolution.note)
        return back_to(user_id)


def mark_of(told: object) -> str:
    """Return a mark by which a page tells whether what it shows has changed."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _mark_of(trip: RecordedTrip) -> str:
    # The interval belongs to what the page shows, so that the page takes up a new one.
    return mark_of((trip, _interval(trip), left(trip)))


def _offers(trip: RecordedTrip) -> list[str]:
    """Return what the caller may do: `confirm`, `cancel`, and each kind whose undo to repair."""
    stuck = [step.kind for step in trip.steps if step.state == "stuck" and caller().operator]
    confirm = ["confirm"] if trip.status == "held" else []
    return [*confirm, *stuck, *(["cancel"] if may_be_cancelled(trip) else [])]


def _interval(trip: RecordedTrip) -> int | None:
    if trip.closed_at is None:
        is_slow = dt.datetime.now(dt.UTC) - trip.accepted_at > SLOW_AFTER
        return SLOW_INTERVAL_MS if is_slow else INTERVAL_MS
    return LONG_INTERVAL_MS if may_be_cancelled(trip) else None
