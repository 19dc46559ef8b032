"""The API's document in words, for the page `/docs`: what a schema allows, what an answer is like.

It knows nothing of the API but what the document says.
"""

import http
from collections.abc import Iterable, Iterator

from flask import json
from markupsafe import Markup, escape

from pages.curl import Schema

TYPES = {
    "boolean": "true or false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "object",
    "string": "text",
}
SHORT = Markup("<code>{}</code>")
LONG = Markup("a pattern <details><summary>The pattern</summary><code>{}</code></details>")
"""How a short and a long pattern are shown."""


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
    parts = (schema, *schema.get("allOf", ()))
    patterns = [part["pattern"] for part in parts if "pattern" in part]
    if patterns:
        told = ((SHORT if len(each) <= 40 else LONG).format(each) for each in patterns)
        yield Markup("that matches {}").format(Markup(" and ").join(told))


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


def prose(text: str) -> Markup:
    """Return a text of the document as HTML: what stands in backticks becomes code."""
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    )


def examples_of(media_type: Schema) -> Iterator[tuple[str, object]]:
    """Yield the examples of a body, each with its name. A single example has an empty name."""
    if "example" in media_type:
        yield "", media_type["example"]
    for name, example in media_type.get("examples", {}).items():
        yield name, example["value"]


def phrase(status: str) -> str:
    """Return what HTTP calls a status."""
    return http.HTTPStatus(int(status)).phrase
