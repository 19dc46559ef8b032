"""The service over HTTP: routes, what they take and give, errors, serving, pages.

It asks `bookings` and knows nothing of Temporal.
"""

from api.answering import trip_at_hand
from api.codec import Codec, create_codec
from api.keys import ANONYMOUS, keys_of
from api.options import Options
from api.pages import create_pages
from api.places import places_for, places_now, share_of
from api.rate import BookingRate
from api.routes import create_blueprint
from api.server import SharedLoopFlask, background_loop, run
from api.translating import install_errors

__all__ = [
    "ANONYMOUS",
    "BookingRate",
    "Codec",
    "Options",
    "SharedLoopFlask",
    "background_loop",
    "create_blueprint",
    "create_codec",
    "create_pages",
    "install_errors",
    "keys_of",
    "places_for",
    "places_now",
    "run",
    "share_of",
    "trip_at_hand",
]
