"""The OpenAPI document is valid, whole, and its examples are what it says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from api import schemas
from api.openapi import openapi_document
from api.problems import MEDIA_TYPE
from bookings.cursors import place_of
from tests.api.stand_in import StandIn, app_over

UNDESCRIBED = ("api.document", "pages.")
"""What the endpoints begin with that the document leaves out: itself and the pages."""


@pytest.fixture(scope="module")
def app() -> Flask:
    return app_over(StandIn())


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    return openapi_document(app, keys_needed=True)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def examples_of(media_type: dict[str, Any]) -> list[Any]:
    return [example["value"] for example in media_type["examples"].values()]


def assert_fits(document: dict[str, Any], schema: dict[str, Any], example: object) -> None:
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.validator_for(whole, validate_formats=True)
    errors = [error.message for error in validator.iter_errors(example)]
    assert not errors, example


def test_it_is_valid_openapi_3_1(app: Flask, document: dict[str, Any]) -> None:
    assert app.test_client().get("/openapi.json").json == openapi_document(app, keys_needed=False)
    assert document["openapi"].startswith("3.1")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_has_every_route(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(UNDESCRIBED)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, found in document["paths"].items() for method in found}
    assert described == routes


def test_it_has_what_linters_and_generators_ask_for(document: dict[str, Any]) -> None:
    """Redocly's recommended rules and `spectral:oas` passed on 25 November 2026."""
    assert document["servers"] and document["info"]["contact"] and document["info"]["license"]
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    found = dict(operations(document))
    for name, operation in found.items():
        assert set(operation["tags"]) <= tags, name
        assert operation["summary"] and operation["description"], name
        refusals = {status for status in operation["responses"] if int(status) >= 400}
        assert refusals >= {"400", "403", "405", "431", "500"}, name
        assert all(MEDIA_TYPE in operation["responses"][status]["content"] for status in refusals)
    assert {tag for operation in found.values() for tag in operation["tags"]} == tags


def test_whatever_is_sent_has_an_example_and_every_example_fits_its_schema(
    document: dict[str, Any],
) -> None:
    components = document["components"]["schemas"]
    members = [
        member for schema in components.values() for member in schema.get("properties", {}).values()
    ]
    for schema in [*components.values(), *members]:
        for example in schema.get("examples", []):
            assert_fits(document, schema, example)
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert_fits(document, parameter["schema"], parameter["example"])
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            assert_fits(document, body["schema"], body["example"])
        for response in operation["responses"].values():
            for media_type in response["content"].values():
                assert examples_of(media_type), name
                for example in examples_of(media_type):
                    assert_fits(document, media_type["schema"], example)


def test_importers_can_send_the_examples_as_they_stand(
    app: Flask, document: dict[str, Any]
) -> None:
    """Postman and Bruno do: a body's own example, and that of each parameter."""
    client = app.test_client()
    book, page = document["paths"]["/book"]["post"], document["paths"]["/bookings"]["get"]
    headers = {each["name"]: each["example"] for each in book["parameters"]}
    body = book["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/book", json=body, headers=headers).status_code in (200, 202)
    place_of(next(each["example"] for each in page["parameters"] if each["name"] == "cursor"))


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Yield every object in a document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from nodes(part)


def test_it_has_nothing_that_generated_clients_cannot_read(document: dict[str, Any]) -> None:
    """What openapi-generator 7.26 and Prism 5 stumble over, language by language."""
    for node in nodes(document):
        assert not {"oneOf", "allOf"} & set(node), "Go, Java and Ruby read one of them"
        assert not {"default", "anyOf"} <= set(node), "does not compile in Go and Java"
        assert not isinstance(node.get("const"), bool), "Python and PHP raise on every answer"
    for name, schema in document["components"]["schemas"].items():
        if name == "Price":
            continue  # Its patterns are of ASCII alone.
        for member in schema["properties"].values():
            pattern = member.get("pattern", "")
            assert "\\u" not in pattern, "unknown to PHP, which then refuses every value"
            in_bytes = re.compile(pattern.encode())  # As PHP matches.
            assert all(in_bytes.search(name.encode()) for name in ("Zoë", "Łukasz", "王秀英"))


def test_the_answers_of_one_operation_have_one_schema(document: dict[str, Any]) -> None:
    """Clients in Go, Ruby and Java read any 2xx by the schema of the first."""
    for name, operation in operations(document):
        schemas_of_answers = {
            json.dumps(media_type["schema"])
            for status, answer in operation["responses"].items()
            if status.startswith("2")
            for media_type in answer["content"].values()
        }
        assert len(schemas_of_answers) == 1, name


def test_it_says_that_an_unread_answer_may_be_a_booking(document: dict[str, Any]) -> None:
    told = document["paths"]["/book"]["post"]["description"]
    assert "cannot be decoded does not mean that nothing was booked" in " ".join(told.split())


def test_an_example_of_a_trip_stands_as_the_answer_says(document: dict[str, Any]) -> None:
    cancel = document["paths"]["/bookings/{user_id}/cancel"]["post"]["responses"]
    shown = {
        status: [
            trip["status"] for trip in examples_of(cancel[status]["content"]["application/json"])
        ]
        for status in ("200", "202")
    }
    assert shown == {"200": ["cancelled"], "202": ["needs_attention"]}


@pytest.mark.parametrize(
    "model",
    [
        *(schemas.BookAnswer, schemas.Booking, schemas.BookingPage),
        *(schemas.TripEvent, schemas.EventPage),
    ],
)
def test_an_answers_example_is_what_the_model_writes(
    document: dict[str, Any], model: type[BaseModel]
) -> None:
    for example in document["components"]["schemas"][model.__name__]["examples"]:
        written = model.model_validate(example).model_dump(mode="json")
        assert list(written.items()) == list(example.items()), "in the order of an answer"


def test_it_says_whether_keys_are_needed(app: Flask, document: dict[str, Any]) -> None:
    assert document["security"] == [{"apiKey": []}]
    assert openapi_document(app, keys_needed=False)["security"] == []
    public = {name for name, found in operations(document) if found.get("security") == []}
    assert public == {"GET /livez", "GET /readyz"}


def test_it_tells_the_headers_to_act_on(document: dict[str, Any]) -> None:
    book = document["paths"]["/book"]["post"]
    told = {status: set(found.get("headers", ())) for status, found in book["responses"].items()}
    assert told["202"] == {"Location", "Preference-Applied"}
    assert told["401"] == {"WWW-Authenticate"}
    assert told["405"] == {"Allow"}
    assert told["429"] == told["503"] == {"Retry-After"}
    assert {each["name"] for each in book["parameters"]} == {"Idempotency-Key", "Prefer"}
