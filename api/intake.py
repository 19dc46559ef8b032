"""Reads and checks what a request carries. What is bad about it becomes a `Problem`."""

import codecs
import json
import re
from typing import Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from api.problems import FieldError, Problem, invalid, invalid_fields
from shared import KINDS, Kind

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""What JSON can escape and UTF-8 cannot write. The models refuse it in values."""

Model = TypeVar("Model", bound=BaseModel)


class BadJson(ValueError):
    """The body is not JSON that can be relied on; the message says why."""


def read_body(model: type[Model]) -> Model:
    """Return the request's JSON body as `model`.

    Raises `Problem`: 415 when it is not said to be JSON, 413 when it is too long, 400 when it is
    not what the model wants.
    """
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset != "utf-8":
        raise Problem(415, "Send the body as application/json in UTF-8.")
    try:
        return checked(model, parse_json(request.get_data()))
    except BadJson as error:
        raise invalid(FieldError("", str(error))) from None


def read_query(model: type[Model]) -> Model:
    """Return the request's query parameters as `model`. Raises `Problem`, 400."""
    return checked(model, only_once(request.args))


def read_headers(model: type[Model]) -> Model:
    """Return the headers that `model` names by its aliases. Raises `Problem`, 400."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    return checked(
        model, {name: request.headers[name] for name in names if name in request.headers}
    )


def only_once(given: MultiDict[str, str]) -> dict[str, str]:
    """Return what is given, each name once. Raises `Problem`, 400."""
    repeated = [name for name in given if len(given.getlist(name)) > 1]
    if repeated:
        raise invalid(*(FieldError(name, "is given more than once") for name in repeated))
    return given.to_dict()


def kind_of(name: str) -> Kind:
    """Return the kind of step that a path names. Raises `Problem`, 404."""
    if name not in KINDS:
        raise Problem(404, f"A trip has a {', a '.join(KINDS)}, no such step.")
    return name


def checked(model: type[Model], value: object) -> Model:
    """Return `value` as `model`. Raises `Problem`, 400."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(error) from None


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`.

    Stricter than `json.loads`, which lets the last of two equal keys win and takes NaN: RFC 8259
    has no NaN, and calls the meaning of repeated names unpredictable. Raises `BadJson`.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise BadJson("The body is not UTF-8") from None
    except json.JSONDecodeError as error:
        if body.startswith(codecs.BOM_UTF8):
            raise BadJson("The body begins with a byte order mark") from None
        # Our own words: what Python says of the same mistake changes with its versions.
        raise BadJson(f"The body is not JSON (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise BadJson("The body is nested too deeply") from None
    except ValueError as error:
        # BadJson of the hooks below, or Python's limit on the digits of an integer.
        raise BadJson(
            str(error) if isinstance(error, BadJson) else "A number is too long"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of distinct, readable keys that `pairs` are. Raises `BadJson`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise BadJson(f"The key {repeated!r} appears twice")
    for key in found:
        if LONE_SURROGATE.search(key):
            raise BadJson(f"The key {key!r} is not Unicode text")
    return found


def _no_constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not a JSON number")
