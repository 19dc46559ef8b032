"""How a request becomes a trip, whether it comes as JSON or from a page."""

from collections.abc import Callable

from flask import g

from api.access import caller
from api.options import Options
from api.schemas import BookRequest
from bookings import Bookings, Trip
from shared import key_fingerprint, keyed_user_id, new_user_id


async def book_for_caller(
    bookings: Bookings,
    options: Options,
    wanted: BookRequest,
    key: str | None,
    seconds: float,
    gone: Callable[[], bool] | None = None,
) -> Trip:
    """Book what the caller wants, once for each idempotency key. Raises as `Bookings.book` does."""
    owner = caller().name
    # Known before anything is asked: also where the line breaks, the answer tells where to look.
    name = "trip" if options.anonymous_ids else wanted.name
    g.user_id = keyed_user_id(owner, key) if key else new_user_id(name)
    fingerprint = key_fingerprint(owner, key) if key else None
    return await bookings.book(g.user_id, wanted.model_dump(), owner, seconds, gone, fingerprint)
