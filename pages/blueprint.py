"""What the pages have in common: files, headers, how they show a problem and ask for a key."""

import datetime as dt
import hashlib
import http
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from markupsafe import Markup

from api import (
    MEDIA_TYPE,
    Options,
    Places,
    key_needed,
    local_url,
    needs_key,
    openapi_document,
)
from bookings import Bookings
from pages import reference, wording
from pages.event_pages import add_event_page
from pages.examples import EXAMPLES, Offer
from pages.form import add_form
from pages.trip_pages import add_trip_actions, add_trip_list, add_trip_page
from shared import KINDS

STATIC = Path(__file__).parent / "static"
STATIC_FILES_KEEP = int(dt.timedelta(days=365).total_seconds())
"""Seconds for which browsers keep a static file under the URL with its mark."""

DOCS_KEPT = 8
"""How many pages `/docs` are kept: one for each name of this machine in `Host`, and one for all
other names. To make one takes 20 ms, and everybody may ask for it."""

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
"""Makes htmx replace the page's content with the answer to a form."""

ANSWERED_BY = {"Answered-By": "trip-booking"}
"""Marks an answer as the service's own. A page shows no other: a proxy's would replace it."""

INSTEAD_OF_CONTENT = {
    "HX-Retarget": "#problem",
    "HX-Reselect": "#problem",
    "HX-Reswap": "outerHTML",
}
"""Makes htmx show a problem beside the page's content. https://htmx.org/reference/#response_headers"""


def add_pages(
    app: Flask, bookings: Bookings, options: Options, places: Places, offer: Offer
) -> None:
    """Add the pages to the app. What waits for a trip takes one of `places`.

    `offer` says which examples the booking page offers.
    """
    pages = Blueprint("pages", __name__, template_folder="templates")
    marks = {file.name: _mark_of(file) for file in STATIC.iterdir()}

    @pages.get("/static/<path:filename>")
    @needs_key("never")
    def static_file(filename: str) -> Response:
        """Return a file that the pages load.

        The mark in the URL may be that of another version, whose process made the page.
        """
        file = send_from_directory(STATIC, filename, max_age=STATIC_FILES_KEEP)
        if request.args.get("v", "") != marks.get(filename):
            file.headers["Cache-Control"] = "no-store"
        return file

    def static(filename: str) -> str:
        """Return the URL of a static file. With its content the URL changes."""
        return url_for("pages.static_file", filename=filename, v=marks[filename])

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
            return render_template("key.html", path=_asked_for())
        return None

    @pages.after_request
    def show_problem(response: Response) -> Response:
        if response.mimetype == MEDIA_TYPE:
            response = _page_of(response)
        response.headers.update(HEADERS)
        return response

    @pages.after_app_request
    def mark(response: Response) -> Response:
        response.headers.update(ANSWERED_BY)
        return response

    made_docs: dict[str | None, str] = {}

    @pages.get("/docs")
    @needs_key("never")
    def docs() -> str:
        """Show the OpenAPI document as a page."""
        url = options.public_url or local_url()
        if url not in made_docs and len(made_docs) >= DOCS_KEPT:
            url = None
        if url not in made_docs:
            made_docs[url] = render_template(
                "docs.html",
                api=openapi_document(
                    current_app, options.public_url, keys_needed=bool(options.keys)
                ),
                url=url,
                reference=reference,
                phrases=http.HTTPStatus,
            )
        return made_docs[url]

    add_form(pages, bookings, options, EXAMPLES[offer])
    add_trip_page(pages, bookings, options)
    add_trip_list(pages, bookings)
    add_trip_actions(pages, bookings, places)
    add_event_page(pages, bookings)
    app.register_blueprint(pages)


def _mark_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _asked_for() -> str:
    """Return the path and the query of the current request as they stand in a link."""
    path = url_for(request.endpoint or "", **(request.view_args or {}))
    return f"{path}?{request.query_string.decode('latin-1')}"


def _page_of(refusal: Response) -> Response:
    """Turn a problem of the API into a page, or into a part of the page that is open."""
    # Also one of too many wrong keys from the address: the next one may be right.
    if refusal.status_code in (401, 429) and "caller" not in g:
        view = current_app.view_functions[request.endpoint or ""]
        path = _asked_for() if key_needed(view) == "if sent" else url_for("pages.form")
        page = render_template("key.html", path=path, refused=True)
    else:
        page = render_template("problem.html", problem=refusal.json, trip_id=g.get("user_id"))
    refusal.set_data(page)
    refusal.mimetype = "text/html"
    if request.method == "POST" and "HX-Request" in request.headers:
        refusal.headers.update(INSTEAD_OF_CONTENT)
    return refusal
