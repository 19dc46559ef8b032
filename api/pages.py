"""What the API tells of itself: the OpenAPI document, and the same as a page."""

from flask import Blueprint, Response, current_app, json, render_template

from api import openapi
from api.answering import answer_with


def add_pages(routes: Blueprint, *, keys_needed: bool) -> None:
    """Add `/openapi.json` and `/docs`."""

    def document() -> openapi.Schema:
        return openapi.document(current_app, keys_needed=keys_needed)

    @routes.get("/openapi.json")
    def openapi_document() -> Response:
        """Return the OpenAPI document."""
        return answer_with(document())

    @routes.get("/docs")
    def docs() -> str:
        """Show the OpenAPI document as a page."""
        return render_template("docs.html", api=document(), dump=json.dumps)
