"""What the views answer with: models as JSON, and where a booking is to be found."""

import urllib.parse

from flask import Response, g, has_request_context, json, request
from pydantic import BaseModel

from api.options import Options
from api.schemas import Links
from bookings import RecordedTrip, acting_workflow
from shared import cut


def answer(body: BaseModel, status: int = 200) -> Response:
    """Return `body` as a JSON response."""
    text = json.dumps(body.model_dump(mode="json"))
    return Response(text, status, mimetype="application/json")


def links_of(trip: RecordedTrip, options: Options) -> Links:
    """Return where to go on from a trip."""
    ui = options.temporal_ui_url.rstrip("/")
    run = [acting_workflow(trip)]
    if trip.first_run_id and not trip.cancelled_at:
        run += [trip.first_run_id, "timeline"]
    path = "/".join(urllib.parse.quote(part, safe="") for part in run)
    return Links(
        self=location_of(trip.trip_id, options),
        web_ui=f"{ui}/namespaces/{options.namespace}/workflows/{path}",
    )


def location_of(user_id: str, options: Options) -> str:
    """Return where a booking is: its URL, or only its path without `PUBLIC_URL`."""
    return f"{options.public_url or ''}/bookings/{urllib.parse.quote(user_id, safe='')}"


def trip_at_hand() -> str | None:
    """Return the id of the trip that the current request is about, if there is such a request."""
    if not has_request_context():
        return None
    user_id: str | None = g.get("user_id") or (request.view_args or {}).get("user_id")
    return None if user_id is None else cut(user_id)
