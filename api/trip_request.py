"""How a request becomes a trip, whether it comes as JSON or from a page."""

from collections.abc import Callable

from flask import g

from api.access import caller
from api.options import Options
from api.schemas import BookRequest
from bookings import Bookings, Trip
from shared import new_user_id


async def book_for_caller(
    bookings: Bookings,
    options: Options,
    wanted: BookRequest,
    key: str | None,
    seconds: float,
    gone: Callable[[], bool] | None = None,
) -> Trip:
    """Book what the caller wants, once for each idempotency key. Raises as `Bookings.book` does."""
    name = "trip" if options.anonymous_ids else wanted.name

    def note_id(user_id: str) -> None:
        # Also where the line to Temporal breaks, the answer tells where to look.
        g.user_id = user_id

    return await bookings.book(
        new_user_id(name),
        wanted.model_dump(),
        caller().name,
        seconds,
        gone,
        key=key,
        on_id=note_id,
    )
