"""What the buttons of a trip's page do: cancel the trip; for operators, repair an undo."""

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from api import (
    Places,
    ResolveRequest,
    caller,
    checked,
    client_gone,
    kind_of,
    only_once,
    operator,
)
from bookings import Bookings

CANCEL_WAIT_SECONDS = 5.0
"""How long a cancellation waits for its outcome before the answer leads back to the trip's page."""


def add_trip_actions(pages: Blueprint, bookings: Bookings, looks: Places) -> None:
    """Add the views that a trip's buttons call. Each leads back to the trip's page."""

    def back_to(user_id: str) -> Response:
        return redirect(url_for("pages.trip", user_id=user_id), 303)

    @pages.post("/trips/<user_id>/cancel")
    async def cancel(user_id: str) -> Response:
        """Begin to cancel a trip."""
        with looks.place_if_free(caller().name) as free:
            wait = CANCEL_WAIT_SECONDS if free else 0
            await bookings.cancel(user_id, caller(), wait, client_gone())
        return back_to(user_id)

    @pages.post("/trips/<user_id>/undo/<kind>/retry")
    async def retry(user_id: str, kind: str) -> Response:
        """Try a stuck undo again now."""
        await bookings.retry_undo(user_id, kind_of(kind), operator())
        return back_to(user_id)

    @pages.post("/trips/<user_id>/undo/<kind>/resolve")
    async def resolve(user_id: str, kind: str) -> Response:
        """Take an operator's word that a stuck undo is settled."""
        resolution = checked(ResolveRequest, only_once(request.form))
        await bookings.resolve_undo(user_id, kind_of(kind), resolution.note, operator())
        return back_to(user_id)
