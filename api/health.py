"""Whether the process lives, and whether trips can be booked."""

from flask import Blueprint, Response

from api.answering import answer
from api.openapi import Operation, describe
from api.problems import retry_later
from api.schemas import Health
from bookings import Bookings


def add_health(routes: Blueprint, bookings: Bookings) -> None:
    """Add `/livez` and `/readyz`."""

    # No coroutine: it needs neither the event loop nor anything else that may hang.
    @routes.get("/livez")
    @describe(Operation(tag="health", answers={200: (Health,)}, public=True))
    def livez() -> Response:
        """Tell that this process answers."""
        return answer(Health())

    @routes.get("/readyz")
    @describe(Operation(tag="health", answers={200: (Health,)}, problems=(503,), public=True))
    async def readyz() -> Response:
        """Tell whether a worker polls Temporal for trips."""
        obstacle = await bookings.check_ready()
        if obstacle is not None:
            raise retry_later(503, obstacle)
        return answer(Health())
