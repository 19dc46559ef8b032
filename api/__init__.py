"""The service over HTTP: routes, what they take and give, errors, serving, pages.

It asks `bookings` and knows nothing of Temporal.
"""

from api.answering import location_of, trip_at_hand
from api.callers import ANONYMOUS, ApiKey
from api.codec import Codec, create_codec
from api.options import Options
from api.pages import create_pages
from api.places import AllPlaces, places_for, threads_for
from api.problems import FieldError, Problem, install, invalid, retry_later
from api.rate import BookingRate
from api.routes import create_blueprint
from api.server import SharedLoopFlask, authority, background_loop, listen, serve

__all__ = [
    "ANONYMOUS",
    "AllPlaces",
    "ApiKey",
    "BookingRate",
    "Codec",
    "FieldError",
    "Options",
    "Problem",
    "SharedLoopFlask",
    "authority",
    "background_loop",
    "create_blueprint",
    "create_codec",
    "create_pages",
    "install",
    "invalid",
    "listen",
    "location_of",
    "places_for",
    "retry_later",
    "serve",
    "threads_for",
    "trip_at_hand",
]
