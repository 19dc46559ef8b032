"""The service over HTTP as JSON: routes, what they take and give, errors, serving.

It asks `bookings` and knows nothing of Temporal, nor of the pages, which are a room of their own
and import what they share with the routes from here.
"""

from api.access import caller, key_needed, needs_key, operator
from api.answering import links_of, location_of, trip_at_hand
from api.codec import Codec, create_codec
from api.intake import checked, kind_of, only_once
from api.keys import ANONYMOUS, CallerKey
from api.openapi import openapi_document
from api.options import Options
from api.places import AllPlaces, Places, client_gone, places_for, threads_for
from api.problems import MEDIA_TYPE, FieldError, Problem, install, invalid, retry_later
from api.rate import BookingRate
from api.routes import create_blueprint
from api.schemas import BookHeaders, BookRequest, PageQuery, ResolveRequest
from api.server import SharedLoopFlask, authority, background_loop, listen, serve
from api.trip_request import book_for_caller

__all__ = [
    "ANONYMOUS",
    "MEDIA_TYPE",
    "AllPlaces",
    "BookHeaders",
    "BookRequest",
    "BookingRate",
    "CallerKey",
    "Codec",
    "FieldError",
    "Options",
    "PageQuery",
    "Places",
    "Problem",
    "ResolveRequest",
    "SharedLoopFlask",
    "authority",
    "background_loop",
    "book_for_caller",
    "caller",
    "checked",
    "client_gone",
    "create_blueprint",
    "create_codec",
    "install",
    "invalid",
    "key_needed",
    "kind_of",
    "links_of",
    "listen",
    "location_of",
    "needs_key",
    "only_once",
    "openapi_document",
    "operator",
    "places_for",
    "retry_later",
    "serve",
    "threads_for",
    "trip_at_hand",
]
