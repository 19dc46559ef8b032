"""What the views answer with: models as JSON, and where a booking is to be found."""

import urllib.parse
from typing import Any

from flask import Response, json
from pydantic import BaseModel


def answer(body: BaseModel, status: int = 200) -> Response:
    """Return `body` as a JSON response."""
    return answer_with(body.model_dump(mode="json"), status)


def answer_with(body: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON object as a response."""
    return Response(json.dumps(body), status, mimetype="application/json")


def location_of(user_id: str) -> str:
    """Return the path of a booking."""
    return f"/bookings/{urllib.parse.quote(user_id, safe='')}"
