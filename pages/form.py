"""The form by which a trip is booked."""

import secrets
from collections.abc import Mapping, Sequence

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from api import (
    BookHeaders,
    BookRequest,
    FieldError,
    Options,
    Problem,
    book_for_caller,
    checked,
    needs_key,
    only_once,
)
from bookings import Bookings
from pages.examples import Example

KEY_FIELD = "idempotency_key"

OPTIONAL = ("attempts", "hold_seconds")
"""What may stay empty."""


def add_form(
    pages: Blueprint, bookings: Bookings, options: Options, examples: Sequence[Example]
) -> None:
    """Add the form, which offers `examples` to fill in, and what takes it."""

    def filled_in(values: Mapping[str, str], key: str, errors: Sequence[FieldError] = ()) -> str:
        return render_template(
            "book.html",
            values=values,
            errors={error.field: error.message for error in errors},
            fields=list(BookRequest.model_fields),
            idempotency_key=key,
            examples=examples,
        )

    @pages.get("/")
    @needs_key("if sent")
    def form() -> str:
        """Show the form, filled in as the query says."""
        return filled_in(request.args, _new_key())

    @pages.post("/trips")
    async def book() -> Response:
        """Book what a form says, once for each form, and lead to the trip."""
        given = only_once(request.form)
        key = given.pop(KEY_FIELD, "") or _new_key()
        chosen = {name: text for name, text in given.items() if text or name not in OPTIONAL}
        try:
            wanted = checked(BookRequest, chosen)
        except Problem as problem:
            return make_response(filled_in(given, key, problem.errors), problem.status)
        key = checked(BookHeaders, {"Idempotency-Key": key}).key or key
        booked = await book_for_caller(bookings, options, wanted, key, 0)
        trip = url_for("pages.trip", user_id=booked.trip_id)
        # htmx would show the trip in the page of the form; a browser goes there.
        return (
            Response(headers={"HX-Redirect": trip})
            if "HX-Request" in request.headers
            else redirect(trip, 303)
        )


def _new_key() -> str:
    """Return an idempotency key for one form. However often the form is sent, it books once."""
    return f"page-{secrets.token_hex(16)}"
