"""The list of trips, which keeps itself up to date."""

from typing import Any

from flask import Blueprint, Response, make_response, render_template, request

from api import PageQuery, Places, caller, checked, needs_key, only_once
from bookings import Bookings
from pages.trip_page import mark_of


def add_trip_list(pages: Blueprint, bookings: Bookings, looks: Places) -> None:
    """Add the list, and the view that an open list asks for news."""

    async def listed(given: dict[str, str]) -> dict[str, Any]:
        query = checked(PageQuery, given)
        trips, next_cursor = await bookings.page(query.status, query.limit, query.cursor, caller())
        seen = [(trip.user_id, trip.status) for trip in trips]
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

    @pages.get("/trips/now")
    async def trips_now() -> Response:
        """Return the list as it is now, or 204 if the page shows that already."""
        given = only_once(request.args)
        seen = given.pop("seen", "")
        with looks.place_to_look(caller().name):
            found = await listed(given)
        if found["mark"] == seen:
            return Response(status=204)
        return make_response(render_template("trips_now.html", **found))
