"""Reads and checks what a request carries. What is bad about it becomes a `Problem`."""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from api.problems import WORDING, FieldError, Problem, invalid
from shared import KINDS, Kind

Model = TypeVar("Model", bound=BaseModel)


def read_body(model: type[Model]) -> Model:
    """Return the request's JSON body as `model`.

    Raises `Problem`: 415 when it is not said to be JSON, 413 when it is too long, 400 when it is
    not what the model wants.
    """
    # UTF-8 is written in many ways. JSON is always in it (RFC 8259, section 8.1).
    charset = re.sub("[^a-z0-9]", "", request.mimetype_params.get("charset", "utf-8").lower())
    if request.mimetype != "application/json" or charset != "utf8":
        raise Problem(415, "Send the body as application/json in UTF-8.")
    body = request.get_data()
    wanted = _problem_unless(lambda: model.model_validate_json(body))
    # It is valid JSON by now. Of a name that stands twice pydantic takes the last value; which one
    # the client meant nobody knows (RFC 8259, section 4).
    json.loads(body, object_pairs_hook=_only_once)
    return wanted


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return only_once(MultiDict(pairs))


def only_once(given: MultiDict[str, Any]) -> dict[str, Any]:
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
    return _problem_unless(lambda: model.model_validate(value))


def _problem_unless(validate: Callable[[], Model]) -> Model:
    try:
        return validate()
    except ValidationError as error:
        wrong = [
            FieldError(
                ".".join(str(part) for part in found["loc"]),
                WORDING.get(found["type"], found["msg"].removeprefix("Value error, ")),
            )
            for found in error.errors(include_url=False, include_context=False)
        ]
        raise invalid(*wrong) from None
