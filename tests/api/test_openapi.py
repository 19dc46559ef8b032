"""The OpenAPI document: what it says of the API, and whether that is so."""

from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from api.problems import MEDIA_TYPE
from api.schemas import BookRequest
from connection import lazy_client
from settings import Settings
from starter import create_app
from tests.api.api_client import JOHN


@pytest.fixture
async def http() -> FlaskClient:
    return create_app(await lazy_client({"target_host": "localhost:1"}), Settings()).test_client()


@pytest.fixture
def document(http: FlaskClient) -> dict[str, Any]:
    response = http.get("/openapi.json")
    assert response.json is not None
    return dict(response.json)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_of_the_contract_is_described(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(operations(document)) == {
        "POST /book",
        "GET /bookings",
        "GET /bookings/{user_id}",
        "POST /bookings/{user_id}/cancel",
        "POST /bookings/{user_id}/undo/{kind}/retry",
        "POST /bookings/{user_id}/undo/{kind}/resolve",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_operation_tells_its_errors_as_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        refusals = {status for status in operation["responses"] if int(status) >= 400}
        assert refusals >= {"400", "403", "405", "431", "500"}, name
        for status in refusals:
            assert MEDIA_TYPE in operation["responses"][status]["content"], (name, status)


def test_it_has_what_linters_and_generators_ask_for(document: dict[str, Any]) -> None:
    """Redocly's recommended rules and `spectral:oas` passed on 25 November 2026."""
    assert document["servers"] and document["info"]["contact"] and document["info"]["license"]
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations(document).items():
        assert set(operation["tags"]) <= tags, name
        assert operation["summary"] and operation["description"], name
        assert any(status.startswith("4") for status in operation["responses"]), name
    used = {tag for operation in operations(document).values() for tag in operation["tags"]}
    assert used == tags


def test_what_the_document_says_of_a_booking_is_what_is_checked(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["BookRequest"] | {
        "components": document["components"]
    }
    validator = jsonschema_rs.validator_for(schema)
    BookRequest.model_validate(JOHN)
    assert validator.is_valid(JOHN)
    for changes in ({"attempts": 0}, {"attempts": True}, {"name": ""}, {"colour": "red"}):
        assert not validator.is_valid(JOHN | changes), changes
