"""The page on which operators see the events that were not delivered, and have them sent again."""

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response

from api import needs_key, operator
from bookings import Bookings

MOST = 100
"""How many events the page shows."""


def add_event_page(pages: Blueprint, bookings: Bookings) -> None:
    """Add the page, and what its buttons call."""

    @pages.get("/undelivered")
    @needs_key("if sent")
    async def undelivered() -> str:
        """List the events that are not delivered, those that have waited for longest first."""
        operator("see undelivered events")
        events = await bookings.undelivered(MOST + 1)
        return render_template("undelivered.html", events=events[:MOST], more=events[MOST:])

    @pages.post("/undelivered/<event_id>/send")
    async def send_again(event_id: str) -> Response:
        """Have an event sent again, or at once."""
        await bookings.deliver_again(event_id, operator("send an event again"))
        return redirect(url_for("pages.undelivered"), 303)
