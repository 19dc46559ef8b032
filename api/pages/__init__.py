"""The pages: book a trip, watch it, list trips, act on them, read of the API.

They ask `bookings` as the API's routes do, and refuse what those refuse in the same words. With
htmx they go on by themselves; without JavaScript the same forms and links work by reloading.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, g, json, render_template, request, url_for
from markupsafe import Markup

from api import openapi
from api.access import SHELLS
from api.options import Options
from api.pages import curl, reference, wording
from api.pages.acting import add_acting
from api.pages.booking import add_booking
from api.pages.listing import add_listing
from api.pages.watching import add_watching
from api.places import Places
from api.problems import MEDIA_TYPE
from bookings import Bookings
from shared import KINDS

HEADERS = {
    # Only what comes from here, and no script in a page. https://www.w3.org/TR/CSP3/
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # With `no-referrer` a browser says `Origin: null` of a page's own forms.
    "Referrer-Policy": "same-origin",
}

SENT_BY_HTMX = Markup(
    'hx-boost="true" hx-push-url="false" hx-target="#main" hx-select="#main" hx-swap="outerHTML" '
    'hx-sync="this:drop" hx-disabled-elt="find button"'
)
"""What makes the answer to a form take the place of the page's content."""

INSTEAD_OF_CONTENT = {
    "HX-Retarget": "#problem",
    "HX-Reselect": "#problem",
    "HX-Reswap": "outerHTML",
}
"""Makes a problem appear beside what the page shows. https://htmx.org/reference/#response_headers"""


def create_pages(bookings: Bookings, options: Options, looks: Places) -> Blueprint:
    """Return the pages, which book through `bookings` and are looked after at `looks`."""
    pages = Blueprint("pages", __name__)

    def static(filename: str) -> str:
        """Return the URL of a static file; that of another content is another one."""
        file = Path(current_app.static_folder or "", filename)
        return url_for("static", filename=filename, v=_version(file))

    @pages.context_processor
    def known_everywhere() -> dict[str, Any]:
        return {
            "caller": g.get("caller"),
            "decodes": options.decodes,
            "keys_needed": bool(options.keys),
            "kinds": KINDS,
            "static": static,
            "sent_by_htmx": SENT_BY_HTMX,
            "wording": wording,
        }

    @pages.before_request
    def ask_for_key() -> str | None:
        if "caller" in g and g.caller is None:
            return render_template("key.html", path=request.full_path)
        return None

    @pages.after_request
    def show_problem(response: Response) -> Response:
        if response.mimetype == MEDIA_TYPE:
            response = _page_of(response)
        response.headers.update(HEADERS)
        return response

    @pages.get("/docs")
    def docs() -> str:
        """Show the OpenAPI document as a page."""
        document = openapi.document(current_app, keys_needed=bool(options.keys))
        return render_template(
            "docs.html",
            api=document,
            url=request.url_root.rstrip("/"),
            commands=curl.commands,
            resolved=curl.resolved,
            reference=reference,
            dump=json.dumps,
        )

    add_booking(pages, bookings, options)
    add_watching(pages, bookings, options, looks)
    add_listing(pages, bookings, looks)
    add_acting(pages, bookings, looks)
    return pages


@functools.cache
def _version(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _page_of(refusal: Response) -> Response:
    """Return a problem of the API as a page, or as a part of the one that is open."""
    if refusal.status_code == 401:
        path = request.full_path if request.endpoint in SHELLS else url_for("pages.form")
        page = render_template("key.html", path=path, refused=True)
    else:
        page = render_template("problem.html", problem=refusal.json, trip_id=g.get("user_id"))
    refusal.set_data(page)
    refusal.mimetype = "text/html"
    if request.method == "POST" and "HX-Request" in request.headers:
        refusal.headers.update(INSTEAD_OF_CONTENT)
    return refusal
