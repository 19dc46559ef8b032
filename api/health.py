"""Whether the process lives, whether trips can be booked, and what has been measured."""

from collections.abc import Callable

from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.access import needs_key, operator
from api.answering import answer
from api.openapi import Operation
from api.places import SCRAPES_AT_ONCE, Places
from api.problems import retry_later
from api.schemas import Health
from bookings import Bookings


def add_health(routes: Blueprint, bookings: Bookings) -> None:
    """Add `/livez` and `/readyz`."""

    # No coroutine: it needs neither the event loop nor anything else that may hang.
    @routes.get("/livez")
    @needs_key("never")
    @Operation("health", answers={200: (Health,)})
    def livez() -> Response:
        """Tell that this process answers."""
        return answer(Health())

    @routes.get("/readyz")
    @needs_key("never")
    @Operation("health", answers={200: (Health,)}, problems=(503,))
    async def readyz() -> Response:
        """Tell whether a worker polls Temporal for trips."""
        obstacle = await bookings.check_ready()
        if obstacle is not None:
            raise retry_later(503, obstacle)
        return answer(Health())


def add_metrics(routes: Blueprint, scrape: Callable[[], bytes]) -> None:
    """Add `/metrics`, which answers with what `scrape` returns."""
    places = Places(SCRAPES_AT_ONCE, SCRAPES_AT_ONCE)

    # No coroutine, as above; and it has a thread while bookings have all the others.
    @routes.get("/metrics")
    @Operation("health", text="booking_trips_accepted_total 42.0", problems=(503,))
    def metrics() -> Response:
        """Tell what was measured, as Prometheus reads it; with API keys, for operators."""
        scraper = operator("read the metrics")
        with places.place(scraper.name):
            return Response(scrape(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
