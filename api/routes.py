"""The API's routes. A view checks the request, asks `Bookings`, and shapes the answer."""

import functools
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api import examples
from api.access import caller, install_access, needs_key, operator
from api.answering import answer, links_of, location_of
from api.intake import checked, kind_of, only_once, read_body
from api.openapi import Operation, header, openapi_document
from api.options import Options
from api.places import (
    PROBES_AT_ONCE,
    SCRAPES_AT_ONCE,
    AllPlaces,
    Places,
    client_gone,
    install_gate,
)
from api.problems import retry_later
from api.schemas import (
    LONGEST_WAIT,
    BookAnswer,
    BookHeaders,
    Booking,
    BookingAction,
    BookingPage,
    BookingStep,
    BookingSummary,
    BookRequest,
    EventPage,
    EventPath,
    EventQuery,
    Health,
    PageQuery,
    ResolveRequest,
    StepPath,
    TripEvent,
    TripPath,
    WaitQuery,
    told,
)
from bookings import Bookings, RecordedTrip, has_outcome, was_cancelled_later
from shared import new_user_id

LOCATION = {"Location": header("Where to look the booking up.", examples.LOCATION)}
PREFERENCE_APPLIED = {
    "Preference-Applied": header(
        "Tells that the answer is a 202 because of `Prefer`.", "respond-async", always=False
    )
}


def create_blueprint(
    bookings: Bookings, options: Options, all_places: AllPlaces, scrape: Callable[[], bytes]
) -> Blueprint:
    """Return the routes, which book through `bookings`; `scrape` returns the metrics."""
    routes = Blueprint("api", __name__)
    install_access(routes, options)
    install_gate(routes, all_places.request)
    places = all_places.wait

    def booking_of(trip: RecordedTrip) -> Booking:
        return Booking(
            user_id=trip.trip_id,
            status=trip.status,
            reason=trip.reason,
            expires_at=trip.expires_at,
            price=trip.price,
            steps=[BookingStep(**vars(step)) for step in trip.steps],
            reservations={step.kind: step.item for step in trip.steps if step.held},
            actions=[BookingAction(**vars(action)) for action in trip.actions],
            started_at=trip.accepted_at,
            closed_at=trip.closed_at,
            links=links_of(trip, options),
        )

    def outcome_of(trip: RecordedTrip) -> Response:
        if has_outcome(trip):
            return answer(_told(trip))
        location = location_of(trip.trip_id, options)
        accepted = BookAnswer(user_id=trip.trip_id, status=trip.status, location=location)
        response = answer(accepted, 202)
        response.headers["Location"] = location
        return response

    @routes.post("/book")
    @Operation(
        "bookings",
        body=BookRequest,
        headers=BookHeaders,
        answers={200: BookAnswer, 202: BookAnswer},
        answer_headers={202: LOCATION | PREFERENCE_APPLIED},
        problems=(422, 503),
    )
    async def book() -> Response:
        """Book a trip, or hold it; the answer is its outcome, or 202 while it has none.

        An answer that cannot be decoded does not mean that nothing was booked, and neither does no
        answer. Send the request again with the same `Idempotency-Key`: it books no second trip.
        """
        wanted = read_body(BookRequest)
        headers = checked(BookHeaders, dict(request.headers))
        wait, preference = headers.patience(options.book_wait_seconds)
        with places.place_to_wait(caller().name, wait):
            trip = await book_for_caller(bookings, options, wanted, headers.key, wait)
        if trip.status == "held":
            return answer(_told(trip))
        response = outcome_of(trip)
        if preference and response.status_code == 202:
            response.headers["Preference-Applied"] = preference
        return response

    @routes.get("/bookings")
    @Operation("bookings", query=PageQuery, answers={200: BookingPage}, problems=(503,))
    async def list_bookings() -> Response:
        """List bookings, the newest first."""
        query = checked(PageQuery, only_once(request.args))
        trips, next_cursor = await bookings.page(query.status, query.limit, query.cursor, caller())
        rows = [
            BookingSummary(
                user_id=trip.trip_id,
                status=trip.status,
                name=trip.request.get("name") or "",
                **{step.kind: step.item for step in trip.steps},
                started_at=trip.accepted_at,
                closed_at=trip.closed_at,
                links=links_of(trip, options),
            )
            for trip in trips
        ]
        return answer(BookingPage(bookings=rows, next_cursor=next_cursor))

    @routes.get("/bookings/<user_id>")
    @Operation("bookings", path=TripPath, query=WaitQuery, answers={200: Booking}, problems=(503,))
    async def get_booking(user_id: str) -> Response:
        """Look a booking up, at once or once it is held or has ended."""
        query = checked(WaitQuery, only_once(request.args))
        trip = await bookings.look_up(user_id, caller())
        if query.wait and trip.closed_at is None:
            wait = min(query.wait, LONGEST_WAIT)
            with places.place_to_wait(caller().name, wait):
                trip = await bookings.look_up_after(trip, wait, client_gone())
        return answer(booking_of(trip))

    @routes.post("/bookings/<user_id>/confirm")
    @Operation(
        "bookings",
        path=TripPath,
        answers={200: BookAnswer, 202: BookAnswer},
        answer_headers={202: LOCATION},
        problems=(409, 503),
    )
    async def confirm_booking(user_id: str) -> Response:
        """Book a trip that is held, at its price or not at all.

        The answer is that of `/book`, also if it is asked again. 409: the trip is not held, or not
        any more.
        """
        return outcome_of(
            await confirm_for_caller(bookings, places, user_id, options.book_wait_seconds)
        )

    @routes.post("/bookings/<user_id>/cancel")
    @Operation(
        "bookings",
        path=TripPath,
        answers={200: Booking, 202: Booking},
        answer_headers={202: LOCATION},
        problems=(409, 503),
    )
    async def cancel_booking(user_id: str) -> Response:
        """Cancel a booking, running or booked: whatever it holds is undone."""
        trip = await cancel_for_caller(bookings, places, user_id, options.book_wait_seconds)
        response = answer(booking_of(trip), 200 if trip.closed_at else 202)
        if trip.closed_at is None:
            response.headers["Location"] = location_of(user_id, options)
        return response

    @routes.post("/bookings/<user_id>/undo/<kind>/retry")
    @Operation("repairs", path=StepPath, answers={200: Booking}, problems=(409, 503))
    async def retry_undo(user_id: str, kind: str) -> Response:
        """Try a stuck undo again now; for operators."""
        trip = await bookings.repair(user_id, kind_of(kind), operator())
        return answer(booking_of(trip))

    @routes.post("/bookings/<user_id>/undo/<kind>/resolve")
    @Operation(
        "repairs",
        path=StepPath,
        body=ResolveRequest,
        answers={200: Booking},
        problems=(409, 503),
    )
    async def resolve_undo(user_id: str, kind: str) -> Response:
        """Declare a stuck undo settled; for operators."""
        resolution = read_body(ResolveRequest)
        trip = await bookings.repair(user_id, kind_of(kind), operator(), resolution.note)
        return answer(booking_of(trip))

    @routes.get("/events")
    @Operation("events", query=EventQuery, answers={200: EventPage}, problems=(503,))
    async def list_events() -> Response:
        """List the events of your trips, the oldest first.

        Ask again with `next_cursor` as `after`, and no event is missed or comes twice. It is there
        also if there are no further events yet.
        """
        query = checked(EventQuery, only_once(request.args))
        found, cursor = await bookings.events(query.after, query.limit, caller())
        told_of = [TripEvent.model_validate(event.told()) for event in found]
        return answer(EventPage(events=told_of, next_cursor=cursor))

    @routes.post("/events/<event_id>/redeliver")
    @Operation("events", path=EventPath, answers={200: TripEvent}, problems=(409, 503))
    async def redeliver_event(event_id: str) -> Response:
        """Send an event to the webhook again, or at once; for operators.

        409: there was no webhook when the event was written.
        """
        event = await bookings.deliver_again(event_id, operator("send an event again"))
        return answer(TripEvent.model_validate(event.told()))

    @functools.cache
    def made_document() -> bytes:
        """Return the document's JSON. It takes 10 ms to make, and everybody may ask for it."""
        made = openapi_document(current_app, options.public_url, keys_needed=bool(options.keys))
        return jsonify(made).get_data()

    @routes.get("/openapi.json")
    @needs_key("never")
    def document() -> Response:
        """Return the OpenAPI document."""
        return Response(made_document(), mimetype="application/json")

    # No coroutine: it needs neither the event loop nor anything else that may hang.
    @routes.get("/livez")
    @needs_key("never")
    @Operation("health", answers={200: Health})
    def livez() -> Response:
        """Tell that this process answers."""
        return answer(Health())

    probes = Places(PROBES_AT_ONCE, PROBES_AT_ONCE)

    @routes.get("/readyz")
    @needs_key("never")
    @Operation("health", answers={200: Health}, problems=(503,))
    async def readyz() -> Response:
        """Tell whether a worker polls Temporal for trips."""
        with probes.place(""):
            obstacle = await bookings.check_ready()
        if obstacle is not None:
            raise retry_later(503, obstacle)
        return answer(Health())

    scrapes = Places(SCRAPES_AT_ONCE, SCRAPES_AT_ONCE)

    # No coroutine, as above; and it has a thread while bookings have all the others.
    @routes.get("/metrics")
    @Operation("health", text="booking_trips_accepted_total 42.0", problems=(503,))
    def metrics() -> Response:
        """Tell what was measured, as Prometheus reads it.

        With API keys it answers keys of `metrics`, and operators.
        """
        scraper = caller() if caller().metrics_only else operator("read the metrics")
        with scrapes.place(scraper.name):
            return Response(scrape(), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes


def _told(trip: RecordedTrip) -> BookAnswer:
    """Tell what has become of a trip that has an outcome or is held."""
    about: dict[str, Any]
    if trip.status == "held":
        about = {"status": "held", "expires_at": trip.expires_at}
    elif trip.booked_at is not None:
        about = {"cancelled": False, "cancelled_later": was_cancelled_later(trip) or None}
    else:
        reason = trip.reason or ""
        about = {"cancelled": True, "result": "Voyage cancelled", "reason": reason}
        return BookAnswer(user_id=trip.trip_id, **about)
    items = {step.kind: step.item for step in trip.steps}
    about |= told(items, result=trip.status != "held")
    return BookAnswer(user_id=trip.trip_id, price=trip.price, **about)


async def book_for_caller(
    bookings: Bookings,
    options: Options,
    wanted: BookRequest,
    key: str | None,
    seconds: float,
) -> RecordedTrip:
    """Book what the caller wants, once for each idempotency key. Raises as `Bookings.book` does."""
    name = "trip" if options.anonymous_ids else wanted.name

    def note_id(user_id: str) -> None:
        # Also where the line to Temporal breaks, the answer tells where to look.
        g.user_id = user_id

    return await bookings.book(
        new_user_id(name),
        wanted.model_dump(exclude_none=True),
        caller().name,
        seconds,
        client_gone(),
        key=key,
        on_id=note_id,
    )


async def confirm_for_caller(
    bookings: Bookings, places: Places, user_id: str, seconds: float
) -> RecordedTrip:
    """Confirm the caller's trip as `cancel_for_caller` cancels it. Raises as `Bookings.confirm`."""
    with places.place_if_free(caller().name) as free:
        return await bookings.confirm(user_id, caller(), seconds if free else 0, client_gone())


async def cancel_for_caller(
    bookings: Bookings, places: Places, user_id: str, seconds: float
) -> RecordedTrip:
    """Cancel the caller's trip, and wait for the outcome if one of `places` is free.

    A cancellation is not refused for want of a place: it is begun. Raises as `Bookings.cancel`.
    """
    with places.place_if_free(caller().name) as free:
        return await bookings.cancel(user_id, caller(), seconds if free else 0, client_gone())
