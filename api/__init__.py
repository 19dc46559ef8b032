"""The service over HTTP as JSON: routes, what they take and give, errors, serving.

It asks `bookings` and knows nothing of Temporal, nor of the pages, which are a room of their own
and import what they share with the routes from here.
"""

from api.access import caller, key_needed, local_url, needs_key, operator
from api.answering import links_of, trip_at_hand
from api.codec import create_codec
from api.intake import checked, kind_of, only_once
from api.keys import keys_of, owners_of
from api.openapi import openapi_document
from api.options import Options
from api.places import Places, places_for, places_now
from api.problems import MEDIA_TYPE, FieldError, Problem, install_errors
from api.rate import BookingRate
from api.routes import (
    book_for_caller,
    cancel_for_caller,
    confirm_for_caller,
    create_blueprint,
)
from api.schemas import BookHeaders, BookRequest, PageQuery, ResolveRequest
from api.server import SharedLoopFlask, run
