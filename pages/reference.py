"""The API's document for the page `/docs`: in words, and as `curl` commands that a shell reads.

It knows nothing of the API but what the document says.
"""

import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask import json
from markupsafe import Markup, escape

Schema = dict[str, Any]
"""A part of the API's document."""

TYPES = {
    "boolean": "true or false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "object",
    "string": "text",
}
PATTERN = Markup(
    "that matches a pattern <details><summary>The pattern</summary><code>{}</code></details>"
)
UNKNOWN_URL = '"$SERVICE_URL"'
"""The shell puts in where the service is, which a proxy does not tell it."""
KEY_HEADER = '-H "Authorization: Bearer $API_KEY"'
"""The shell replaces `$API_KEY` in double quotes, so that no command shows the key."""


def commands(document: Schema, url: str | None, method: str, path: str) -> list[str]:
    """Return the shortest command of an operation, and the one with all optional parameters.

    Without optional parameters there is only one. `url` is the service's, without a final slash;
    `None`: the shell knows it.
    """
    operation = document["paths"][path][method]
    shown = operation.get("parameters", [])
    needed = [each for each in shown if each.get("required")]
    return [
        " \\\n  ".join(_words(document, url, method, path, parameters))
        for parameters in ([needed] if needed == shown else [needed, shown])
    ]


def resolved(document: Schema, schema: Schema) -> Schema:
    """Return the schema itself, also where the document only refers to it."""
    if "$ref" not in schema:
        return schema
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _words(
    document: Schema, url: str | None, method: str, path: str, parameters: Sequence[Schema]
) -> Iterator[str]:
    """Yield the lines of a command."""

    def given(place: str) -> dict[str, str]:
        return {each["name"]: str(each["example"]) for each in parameters if each["in"] == place}

    operation = document["paths"][path][method]
    parts = {name: urllib.parse.quote(value, safe="") for name, value in given("path").items()}
    query = urllib.parse.urlencode(given("query"))
    place = path.format(**parts) + (f"?{query}" if query else "")
    target = shlex.quote(url + place) if url else UNKNOWN_URL + shlex.quote(place)
    yield f"curl {target}" if method == "get" else f"curl -X {method.upper()} {target}"
    if operation.get("security", document["security"]):
        yield KEY_HEADER
    for name, value in given("header").items():
        yield f"-H {shlex.quote(f'{name}: {value}')}"
    if "requestBody" in operation:
        ((media_type, body),) = operation["requestBody"]["content"].items()
        yield f"-H {shlex.quote(f'Content-Type: {media_type}')}"
        yield f"-d {shlex.quote(json.dumps(body['example'], indent=2))}"


def in_words(schema: Schema) -> Markup:
    """Return in words what a schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if variants := schema.get("anyOf") or schema.get("oneOf"):
        return Markup(" or ").join(in_words(variant) for variant in variants)
    if "const" in schema:
        return literals([schema["const"]])
    if "enum" in schema:
        return Markup("one of {}").format(literals(schema["enum"]))
    if "items" in schema:
        return Markup("list of {}").format(in_words(schema["items"]))
    if schema.get("format") == "date-time":
        return Markup("time (RFC 3339)")
    if schema.get("additionalProperties"):
        names, values = schema["propertyNames"], schema["additionalProperties"]
        return Markup("object of {} by {}").format(in_words(values), in_words(names))
    return Markup(" ").join([escape(TYPES[schema["type"]]), *_limits(schema)])


def _limits(schema: Schema) -> Iterator[Markup]:
    if length := _range(schema.get("minLength"), schema.get("maxLength")):
        yield escape(f"of {length} character{'' if length.endswith(' 1') else 's'}")
    if numbers := _range(schema.get("minimum"), schema.get("maximum")):
        yield escape(f"of {numbers}")
    if pattern := schema.get("pattern"):
        yield PATTERN.format(pattern)


def _range(least: float | None, most: float | None) -> str:
    if most is None:
        return "" if least is None else f"at least {least:,}"
    return f"at most {most:,}" if least is None else f"{least:,} to {most:,}"


def literals(values: Iterable[object]) -> Markup:
    """Return values as code; a text without its quotes."""
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return Markup(", ").join(Markup("<code>{}</code>").format(text) for text in texts)


def as_json(values: Iterable[object]) -> list[str]:
    """Return values as they stand in JSON."""
    return [json.dumps(value) for value in values]


def indented(example: object) -> str:
    """Return an example of a body as it is shown."""
    return example if isinstance(example, str) else json.dumps(example, indent=2)


def prose(text: str) -> Markup:
    """Return a text of the document as HTML: what stands in backticks becomes code."""
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    )
