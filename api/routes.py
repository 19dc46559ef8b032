"""The API's routes. A view checks the request, asks `Bookings`, and shapes the answer."""

import logging
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from flask import Blueprint, Response, current_app, g, json, render_template, request
from pydantic import BaseModel

from api import openapi
from api.callers import authenticate
from api.intake import read_body, read_headers, read_query
from api.openapi import Header, Operation, describe
from api.options import Options
from api.problems import CHALLENGE, Problem, retry_later
from api.schemas import (
    EXAMPLE_ID,
    EXAMPLE_LOCATION,
    Accepted,
    Booked,
    BookHeaders,
    Booking,
    BookingPage,
    BookingSummary,
    BookRequest,
    Health,
    Links,
    PageQuery,
    ResolveRequest,
    RolledBack,
    Step,
    WaitQuery,
)
from bookings import Bookings, Caller, Outcome, Trip
from shared import KINDS, Kind, keyed_user_id, new_user_id

logger = logging.getLogger("api")

LOCATION = {"Location": Header("Where to look the booking up.", EXAMPLE_LOCATION)}
PREFERENCE_APPLIED = {
    "Preference-Applied": Header(
        "Tells that the answer is a 202 because of `Prefer`.", "respond-async", always=False
    )
}
USER_ID = {"user_id": {"type": "string", "minLength": 1, "examples": [EXAMPLE_ID]}}
USER_ID_AND_KIND = USER_ID | {"kind": {"type": "string", "enum": list(KINDS)}}
PUBLIC_ENDPOINTS = ("livez", "readyz")


def create_blueprint(bookings: Bookings, options: Options) -> Blueprint:
    """Return the routes, which book through `bookings`."""
    routes = Blueprint("api", __name__)
    open_bookings = threading.BoundedSemaphore(options.max_open_bookings)

    @contextmanager
    def place_to_wait() -> Iterator[None]:
        """Hold one of the places for requests that wait. Raises `Problem`, 429, if none is free."""
        if not open_bookings.acquire(blocking=False):
            raise retry_later(429, "Too many bookings are under way here; try again.")
        try:
            yield
        finally:
            open_bookings.release()

    def links(trip: Trip) -> Links:
        run = "/".join(
            urllib.parse.quote(part, safe="") for part in (trip.workflow_id, trip.run_id)
        )
        ui = options.temporal_ui_url.rstrip("/")
        return Links(
            self=location_of(trip.user_id),
            web_ui=f"{ui}/namespaces/{options.namespace}/workflows/{run}/history",
        )

    def booking_of(trip: Trip) -> Booking:
        return Booking(
            user_id=trip.user_id,
            status=trip.status,
            stale=trip.stale,
            reason=trip.reason,
            steps=[Step(**vars(step)) for step in trip.steps],
            reservations={step.kind: step.item for step in trip.steps if step.held},
            started_at=trip.started_at,
            closed_at=trip.closed_at,
            links=links(trip),
        )

    @routes.before_app_request
    def know_caller() -> None:
        if request.endpoint in {f"api.{name}" for name in PUBLIC_ENDPOINTS}:
            return
        caller = authenticate(request.headers.get("Authorization"), options.keys)
        if caller is None:
            raise Problem(
                401,
                "Send an API key as `Authorization: Bearer <key>`.",
                headers={"WWW-Authenticate": CHALLENGE},
            )
        g.caller = caller

    @routes.post("/book")
    @describe(
        Operation(
            body=BookRequest,
            headers=BookHeaders,
            answers={200: (Booked, RolledBack), 202: (Accepted,)},
            answer_headers={202: LOCATION | PREFERENCE_APPLIED},
            problems=(400, 413, 415, 422, 429, 503),
        )
    )
    async def book() -> Response:
        """Book a trip; the answer is its outcome, or 202 while it has none."""
        wanted, headers = read_body(BookRequest), read_headers(BookHeaders)
        owner = caller().name
        key = headers.key
        user_id = keyed_user_id(owner, key) if key else new_user_id(wanted.name)
        with place_to_wait():
            g.user_id = user_id
            await bookings.start(user_id, _as_strings(wanted), owner)
            wait = 0 if headers.respond_async else options.book_wait_seconds
            outcome = await bookings.outcome(user_id, wait) if wait else None
        if outcome is not None and not outcome.stopped:
            return _json(_answer(user_id, outcome))
        status = "needs_attention" if outcome else "running"
        accepted = Accepted(user_id=user_id, status=status, location=location_of(user_id))
        response = _json(accepted, 202)
        response.headers["Location"] = accepted.location
        if headers.respond_async:
            response.headers["Preference-Applied"] = "respond-async"
        return response

    @routes.get("/bookings")
    @describe(Operation(query=PageQuery, answers={200: (BookingPage,)}, problems=(400, 503)))
    async def list_bookings() -> Response:
        """List bookings: the running ones first, then those that ended last."""
        query = read_query(PageQuery)
        trips, next_cursor = await bookings.page(query.status, query.limit, query.cursor, caller())
        rows = [
            BookingSummary(
                user_id=trip.user_id,
                status=trip.status,
                name=trip.request["name"],
                car=trip.request["car"],
                hotel=trip.request["hotel"],
                flight=trip.request["flight"],
                started_at=trip.started_at,
                closed_at=trip.closed_at,
                links=links(trip),
            )
            for trip in trips
        ]
        return _json(BookingPage(bookings=rows, next_cursor=next_cursor))

    @routes.get("/bookings/<user_id>")
    @describe(
        Operation(
            path=USER_ID,
            query=WaitQuery,
            answers={200: (Booking,)},
            problems=(400, 404, 429, 503),
        )
    )
    async def get_booking(user_id: str) -> Response:
        """Look a booking up, at once or once it has ended."""
        query = read_query(WaitQuery)
        trip = await bookings.look_up(user_id, caller())
        if query.wait and trip.closed_at is None:
            with place_to_wait():
                await bookings.outcome(trip.workflow_id, query.wait)
            trip = await bookings.look_up(user_id, caller())
        return _json(booking_of(trip))

    @routes.post("/bookings/<user_id>/cancel")
    @describe(
        Operation(
            path=USER_ID,
            answers={200: (Booking,), 202: (Booking,)},
            answer_headers={202: LOCATION},
            problems=(404, 409, 429, 503),
        )
    )
    async def cancel_booking(user_id: str) -> Response:
        """Cancel a booking, running or booked: whatever it holds is undone."""
        with place_to_wait():
            trip = await bookings.cancel(user_id, caller(), options.book_wait_seconds)
        response = _json(booking_of(trip), 200 if trip.closed_at else 202)
        if trip.closed_at is None:
            response.headers["Location"] = location_of(user_id)
        return response

    @routes.post("/bookings/<user_id>/undo/<kind>/retry")
    @describe(
        Operation(path=USER_ID_AND_KIND, answers={200: (Booking,)}, problems=(403, 404, 409, 503))
    )
    async def retry_undo(user_id: str, kind: str) -> Response:
        """Try a stuck undo again now; for operators."""
        trip = await bookings.retry_undo(user_id, _kind(kind), operator())
        return _json(booking_of(trip))

    @routes.post("/bookings/<user_id>/undo/<kind>/resolve")
    @describe(
        Operation(
            path=USER_ID_AND_KIND,
            body=ResolveRequest,
            answers={200: (Booking,)},
            problems=(400, 403, 404, 409, 413, 415, 503),
        )
    )
    async def resolve_undo(user_id: str, kind: str) -> Response:
        """Declare a stuck undo settled; for operators."""
        resolution = read_body(ResolveRequest)
        trip = await bookings.resolve_undo(user_id, _kind(kind), resolution.note, operator())
        return _json(booking_of(trip))

    @routes.get("/livez")
    @describe(Operation(answers={200: (Health,)}, public=True))
    async def livez() -> Response:
        """Tell that this process answers."""
        return _json(Health())

    @routes.get("/readyz")
    @describe(Operation(answers={200: (Health,)}, problems=(503,), public=True))
    async def readyz() -> Response:
        """Tell whether a worker polls Temporal for trips."""
        obstacle = await bookings.check_ready()
        if obstacle is not None:
            raise retry_later(503, obstacle)
        return _json(Health())

    def document() -> openapi.Schema:
        return openapi.document(current_app, keys_needed=bool(options.keys))

    @routes.get("/openapi.json")
    def openapi_document() -> Response:
        """Return the OpenAPI document."""
        return _json_of(document())

    @routes.get("/docs")
    def docs() -> str:
        """Show the OpenAPI document as a page."""
        return render_template("docs.html", api=document(), dump=json.dumps)

    return routes


def caller() -> Caller:
    """Return who the current request comes from."""
    return cast(Caller, g.caller)


def operator() -> Caller:
    """Return who the current request comes from. Raises `Problem`, 403, if no operator."""
    if not caller().operator:
        raise Problem(403, "Only an operator may repair an undo.")
    return caller()


def location_of(user_id: str) -> str:
    """Return the path of a booking."""
    return f"/bookings/{urllib.parse.quote(user_id, safe='')}"


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise Problem(404, f"A trip has a {', a '.join(KINDS)}, no such step.")
    return kind


def _as_strings(wanted: BookRequest) -> dict[str, str]:
    return {name: str(value) for name, value in wanted.model_dump().items()}


def _json(body: BaseModel, status: int = 200) -> Response:
    return _json_of(body.model_dump(mode="json"), status)


def _json_of(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")


def _answer(user_id: str, outcome: Outcome) -> Booked | RolledBack:
    if outcome.result is None:
        return RolledBack(user_id=user_id, reason=outcome.reason)
    message = outcome.result["message"]
    if isinstance(message, str):
        return RolledBack(user_id=user_id, reason=message)
    items = {kind: message[f"booked_{kind}"] for kind in KINDS if f"booked_{kind}" in message}
    return Booked(
        user_id=user_id,
        **{kind: f"{kind.capitalize()}: {item}" for kind, item in items.items()},
        result=" ".join(f"Booked {kind}: {item}" for kind, item in items.items()),
    )
