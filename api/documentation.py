"""What the API tells of itself: the OpenAPI document. As a page it is `/docs`, of `api.pages`."""

from flask import Blueprint, Response, current_app

from api import openapi
from api.answering import answer_with


def add_documentation(routes: Blueprint, *, keys_needed: bool) -> None:
    """Add `/openapi.json`."""

    @routes.get("/openapi.json")
    def openapi_document() -> Response:
        """Return the OpenAPI document."""
        return answer_with(openapi.document(current_app, keys_needed=keys_needed))
