"""The OpenAPI 3.1 document, made from what the views say of themselves and the models they use.

A view is marked with its `Operation`; the models that validate are the models in the document.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
    models_json_schema,
)
from werkzeug.routing import Rule

from api import problems
from api.access import key_needed
from api.schemas import ProblemDetails
from shared import KINDS, VERSION

Tag = Literal["bookings", "events", "repairs", "health"]

View = TypeVar("View", bound=Callable[..., Any])
Schema = dict[str, Any]


def header(meaning: str, example: str, *, always: bool = True) -> Schema:
    """Return what the document says of a header of an answer."""
    schema = {"type": "string"}
    return {"description": meaning, "required": always, "schema": schema, "example": example}


RETRY_AFTER = header("Seconds after which to try again.", str(problems.RETRY_AFTER_SECONDS))
PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": header("How to authenticate (RFC 6750).", problems.CHALLENGE)},
    405: {"Allow": header("The methods that the resource has.", "GET, HEAD, OPTIONS")},
    429: {"Retry-After": RETRY_AFTER},
    503: {"Retry-After": RETRY_AFTER},
}
COMMON_PROBLEMS = {400, 403, 405, 421, 431, 500}
"""What any request may be refused with, by the HTTP server or before a view is asked."""
OPERATION = "operation"
REFERENCE = "#/components/schemas/{model}"
SECURITY = {"apiKey": {"type": "http", "scheme": "bearer"}}
INFO = {
    "title": "Trip booking",
    "version": VERSION,
    "description": f"Books a {', a '.join(KINDS)}: all of them or none.\n\n"
    f"Every answer carries the headers {', '.join(problems.SECURITY_HEADERS)}.",
    "contact": {"name": "Whoever runs this service"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
TAGS: dict[Tag, str] = {
    "bookings": "Book trips, look them up, cancel them.",
    "events": "Follow what becomes of trips.",
    "repairs": "Settle undos that are stuck; for operators.",
    "health": "For probes and load balancers.",
}


@dataclass(frozen=True)
class Operation:
    """Marks a view as an operation of the API, and says of it what its docstring does not.

    The docstring's first line is the operation's summary, the whole of it the description.
    """

    tag: Tag
    answers: Mapping[int, type[BaseModel]] = field(default_factory=dict)
    text: str | None = None
    """An example of the answer, where it is a text."""
    problems: Sequence[int] = ()
    """Statuses of refusals, besides those that follow from the rest."""
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    path: type[BaseModel] | None = None
    answer_headers: Mapping[int, Schema] = field(default_factory=dict)

    def __call__(self, view: View) -> View:
        """Mark the view."""
        setattr(view, OPERATION, self)
        return view

    def refusals(self, *, public: bool) -> set[int]:
        """Return the statuses with which a request may be refused."""
        return {
            *COMMON_PROBLEMS,
            *self.problems,
            *((404,) if self.path else ()),
            *((413, 415) if self.body else ()),
            *(() if public else (401, 429)),
        }


def openapi_document(app: Flask, url: str | None = None, *, keys_needed: bool) -> Schema:
    """Return the OpenAPI document of the app's marked views. `url` is where people reach it."""
    views: list[tuple[Rule, Callable[..., Any], Operation]] = [
        (rule, view, getattr(view, OPERATION))
        for rule in app.url_map.iter_rules()
        if hasattr(view := app.view_functions[rule.endpoint], OPERATION)
    ]
    components = _components([operation for _, _, operation in views])
    paths: dict[str, Schema] = {}
    for rule, view, operation in views:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            public = key_needed(view) == "never"
            entry = _operation(operation, method, components, public=public)
            entry["operationId"] = view.__name__
            told = inspect.cleandoc(view.__doc__ or "")
            entry["summary"] = told.partition("\n")[0].rstrip(".")
            entry["description"] = told
            paths.setdefault(path, {})[method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": INFO,
        # The default is relative to where the document is: it is true on any host and any port.
        "servers": [{"url": url or "/", "description": "This service"}],
        "tags": [{"name": name, "description": told} for name, told in TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components}
        | ({"securitySchemes": SECURITY} if keys_needed else {}),
        "security": [{"apiKey": []}] if keys_needed else [],
    }


class _AsWritten(GenerateJsonSchema):
    """Leaves the members of an example in the order in which an answer has them."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value


def _components(operations: Sequence[Operation]) -> Schema:
    """Return the schemas of all models by their names."""
    models: set[tuple[type[BaseModel], JsonSchemaMode]] = {(ProblemDetails, "serialization")}
    for operation in operations:
        if operation.body:
            models.add((operation.body, "validation"))
        models.update((answer, "serialization") for answer in operation.answers.values())
    ordered = sorted(models, key=lambda pair: pair[0].__name__)
    _, definitions = models_json_schema(
        ordered, ref_template=REFERENCE, schema_generator=_AsWritten
    )
    found: Schema = definitions["$defs"]
    return found


def _reference(model: type[BaseModel]) -> Schema:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _operation(operation: Operation, method: str, components: Schema, *, public: bool) -> Schema:
    entry: Schema = {"tags": [operation.tag], "responses": {}}
    parameters = [
        *_parameters(operation.path, "path"),
        *_parameters(operation.query, "query"),
        *_parameters(operation.headers, "header"),
    ]
    if parameters:
        entry["parameters"] = parameters
    if operation.body:
        members = components[operation.body.__name__]["properties"]
        shown = {
            "schema": _reference(operation.body),
            "example": {
                name: schema["examples"][0]
                for name, schema in members.items()
                if "examples" in schema  # Others are left out: most want none of it.
            },
        }
        entry["requestBody"] = {"required": True, "content": {"application/json": shown}}
    for status, answer in operation.answers.items():
        meaning = inspect.cleandoc(answer.__doc__ or "")
        entry["responses"][str(status)] = _response(
            f"Not over yet. {meaning}" if status == 202 else meaning,
            "application/json",
            _reference(answer),
            {
                name: example
                for name, example in _examples(components[answer.__name__])
                if _fits(example, operation, method, status)
            },
            operation.answer_headers.get(status, {}),
        )
    if operation.text is not None:
        entry["responses"]["200"] = _response(
            "The text.", "text/plain", {"type": "string"}, {"Text": operation.text}, {}
        )
    for status in sorted(operation.refusals(public=public)):
        entry["responses"][str(status)] = _response(
            problems.MEANING[status],
            problems.MEDIA_TYPE,
            _reference(ProblemDetails),
            {"Problem": _problem(operation, status).body()},
            PROBLEM_HEADERS.get(status, {}),
        )
    if public:
        entry["security"] = []
    return entry


def _response(
    meaning: str, media_type: str, schema: Schema, examples: Schema, headers: Schema
) -> Schema:
    shown = {name: {"value": example} for name, example in examples.items()}
    return {
        "description": meaning,
        "content": {media_type: {"schema": schema, "examples": shown}},
        "headers": headers,
    }


def _examples(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the examples of an answer, each with a name that tells how the trip stands."""
    for example in schema.get("examples", ()):
        yield example.get("status") or example.get("result") or schema["title"], example


def _fits(example: Schema, operation: Operation, method: str, status: int) -> bool:
    """Tell whether the operation may answer with `status` while a trip stands so."""
    if method != "GET" and example.get("status") == "booked":
        return False  # What is asked of a trip that is there already undoes it.
    if 202 in operation.answers:
        is_held = example.get("status") == "held"
        if is_held and not operation.body:
            return False  # Only what was asked to be held is.
        over = example.get("closed_at") or "cancelled" in example or is_held
        return (status == 202) != bool(over)
    return True


def _problem(operation: Operation, status: int) -> problems.Problem:
    """Return an example of how the operation is refused with `status`."""
    if status == 400 and operation.body:
        field, *_ = operation.body.model_fields
        return problems.invalid(problems.FieldError(field, problems.WORDING["missing"]))
    return problems.Problem(status, problems.MEANING[status])


def _parameters(model: type[BaseModel] | None, place: str) -> Iterator[Schema]:
    """Yield the fields of a model as parameters. Only those of a path are required.

    Importers send the example as it stands.
    """
    properties = model.model_json_schema()["properties"] if model else {}
    for name, schema in properties.items():
        # An absent parameter is what JSON Schema's null stands for.
        variants = [part for part in schema.pop("anyOf", []) if part != {"type": "null"}]
        for variant in variants:
            schema |= variant
        if schema.get("default", "") is None:
            del schema["default"]
        yield {
            "name": name,
            "in": place,
            "required": place == "path",
            "description": schema.pop("description", ""),
            "example": schema.pop("examples")[0],
            "schema": schema,
        }
