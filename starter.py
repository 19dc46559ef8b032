"""The API: `create_app` builds the Flask app around one Temporal client; `main` serves it.

`python starter.py`. Views check the request, ask `Bookings`, and shape the answer; what Temporal is
asked stands in `bookings.py`, what requests and answers look like in `schemas.py`.
"""

import asyncio
import functools
import logging
import urllib.parse

from flask import Request, Response, json, request
from pydantic import BaseModel, ValidationError
from temporalio.client import Client

import problems
from bookings import BookingNotFound, Bookings, Outcome, TemporalUnavailable, Trip
from http_server import SharedLoopFlask, background_loop, serve
from logs import configure_logging
from problems import FieldError, Problem
from schemas import (
    Accepted,
    BadJson,
    Booked,
    Booking,
    BookRequest,
    Health,
    Links,
    RolledBack,
    Step,
    parse_json,
)
from settings import Settings, lazy_client, load_settings, temporal_config
from shared import BookVacationInput, new_user_id

logger = logging.getLogger("api")

MAX_BODY_BYTES = 16 * 1024
RETRY_AFTER_SECONDS = 5


def create_app(temporal_client: Client, settings: Settings | None = None) -> SharedLoopFlask:
    """Return the API as a Flask app that books through `temporal_client`.

    Without `settings` they are read from the environment.
    """
    settings = settings or load_settings()
    bookings = Bookings(temporal_client)

    app = SharedLoopFlask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # The default provider has it.
    app.extensions["bookings"] = bookings
    problems.install(app)
    app.register_error_handler(TemporalUnavailable, _unavailable)
    app.register_error_handler(BookingNotFound, _not_found)

    @app.post("/book")
    async def book() -> Response:
        """Book a trip and answer with its outcome, or with 202 when it is still running."""
        wanted = _book_request(request)
        user_id = new_user_id(wanted.name)
        book_input = BookVacationInput(
            attempts=wanted.attempts,
            book_user_id=user_id,
            book_car_id=wanted.car,
            book_hotel_id=wanted.hotel,
            book_flight_id=wanted.flight,
            policy=settings.saga_policy,
        )
        try:
            await bookings.start(book_input, wanted.name)
        except TemporalUnavailable as error:
            # The start may have got through before the line broke: tell where to look for it.
            raise _problem_unavailable(error, location=_location(user_id)) from error
        outcome = await bookings.outcome(user_id, settings.book_wait_seconds)
        if outcome is None:
            return _accepted(user_id)
        return _json(_outcome(user_id, outcome))

    @app.get("/bookings/<user_id>")
    async def booking(user_id: str) -> Response:
        """Return the trip as it stands."""
        trip = await bookings.look_up(user_id)
        return _json(_booking(trip, temporal_client.namespace, settings.temporal_ui_url))

    @app.get("/livez")
    async def livez() -> Response:
        """Return 200 for as long as this process answers."""
        return _json(Health())

    @app.get("/readyz")
    async def readyz() -> Response:
        """Return 200 when a worker polls Temporal for trips, 503 with the reason otherwise."""
        obstacle = await bookings.check_ready()
        if obstacle is not None:
            raise Problem(503, obstacle, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        return _json(Health())

    return app


def _book_request(received: Request) -> BookRequest:
    charset = received.mimetype_params.get("charset", "utf-8").lower()
    if received.mimetype != "application/json" or charset != "utf-8":
        raise Problem(415, "Send the booking as application/json in UTF-8.")
    try:
        body = parse_json(received.get_data())
    except BadJson as error:
        raise problems.invalid(FieldError("", str(error))) from None
    try:
        return BookRequest.model_validate(body)
    except ValidationError as error:
        raise problems.invalid_fields(error) from None


def _json(body: BaseModel, status: int = 200) -> Response:
    return Response(json.dumps(body.model_dump(mode="json")), status, mimetype="application/json")


def _location(user_id: str) -> str:
    return f"/bookings/{user_id}"


def _accepted(user_id: str) -> Response:
    location = _location(user_id)
    response = _json(Accepted(user_id=user_id, location=location), 202)
    response.headers["Location"] = location
    return response


def _outcome(user_id: str, outcome: Outcome) -> Booked | RolledBack:
    if outcome.result is None:
        return RolledBack(user_id=user_id, reason=outcome.reason)
    message = outcome.result["message"]
    if isinstance(message, str):
        return RolledBack(user_id=user_id, reason=message)
    return Booked(
        user_id=user_id,
        car=f"Car: {message['booked_car']}",
        hotel=f"Hotel: {message['booked_hotel']}",
        flight=f"Flight: {message['booked_flight']}",
        result=(
            f"Booked car: {message['booked_car']}"
            f" Booked hotel: {message['booked_hotel']}"
            f" Booked flight: {message['booked_flight']}"
        ),
    )


def _booking(trip: Trip, namespace: str, ui_url: str) -> Booking:
    run = "/".join(urllib.parse.quote(part, safe="") for part in (trip.user_id, trip.run_id))
    return Booking(
        user_id=trip.user_id,
        status=trip.status,
        stale=trip.stale,
        reason=trip.reason,
        steps=[Step(**vars(step)) for step in trip.steps],
        reservations={step.kind: step.item for step in trip.steps if step.state == "booked"},
        started_at=trip.started_at,
        closed_at=trip.closed_at,
        links=Links(
            self=_location(trip.user_id),
            web_ui=f"{ui_url.rstrip('/')}/namespaces/{namespace}/workflows/{run}/history",
        ),
    )


def _problem_unavailable(error: TemporalUnavailable, **members: str) -> Problem:
    logger.error("Temporal cannot be reached: %s", error)
    return Problem(
        503,
        "Temporal cannot be reached at the moment; try again.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        members=members,
    )


def _unavailable(error: TemporalUnavailable) -> Response:
    return _problem_unavailable(error).response()


def _not_found(_error: BookingNotFound) -> Response:
    return Problem(404, "There is no such booking.").response()


async def _announce(bookings: Bookings, address: str, settings: Settings) -> None:
    """Log what the service waits for, and where it is once it is ready."""
    said = None
    while obstacle := await bookings.check_ready():
        if obstacle != said:
            logger.warning("Waiting: %s (Temporal at %s)", obstacle, address)
            said = obstacle
        await asyncio.sleep(0.5)
    logger.info(
        "Ready: book at http://%s:%d/book, watch at %s",
        settings.host,
        settings.port,
        settings.temporal_ui_url,
    )


def main() -> None:
    """Run the API process."""
    settings = load_settings()
    configure_logging(settings)
    config = temporal_config()
    with background_loop() as loop:
        client = asyncio.run_coroutine_threadsafe(lazy_client(config), loop).result()
        app = create_app(client, settings)
        app.loop = loop
        bookings: Bookings = app.extensions["bookings"]
        asyncio.run_coroutine_threadsafe(_announce(bookings, config["target_host"], settings), loop)
        serve(
            app,
            settings.host,
            settings.port,
            threads=settings.http_threads,
            before_stop=functools.partial(loop.call_soon_threadsafe, bookings.stop_waiting),
        )


if __name__ == "__main__":
    main()
