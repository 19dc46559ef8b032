"""The `curl` commands of the page `/docs`, as a shell reads them, made from the API's document.

It knows nothing of the API but what the document says.
"""

import shlex
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from flask import json

Schema = dict[str, Any]
"""A part of the API's document."""

KEY_HEADER = '-H "Authorization: Bearer $API_KEY"'
"""The shell replaces `$API_KEY` in double quotes, so that no command shows the key."""


def commands(document: Schema, url: str, method: str, path: str) -> list[str]:
    """Return the shortest command of an operation, and the one with all optional parameters.

    Without optional parameters there is only one. `url` is the service's, without a final slash.
    """
    operation = document["paths"][path][method]
    shown = [
        each for each in operation.get("parameters", ()) if example_of(each["schema"]) is not None
    ]
    needed = [each for each in shown if each.get("required")]
    return [
        " \\\n  ".join(_words(document, url, method, path, parameters))
        for parameters in ([needed] if needed == shown else [needed, shown])
    ]


def example_of(schema: Schema) -> object:
    """Return the first example of a schema, `None` if it has none.

    The example of an object has an example of each of its members.
    """
    if "properties" in schema:
        members = {name: example_of(member) for name, member in schema["properties"].items()}
        return {name: example for name, example in members.items() if example is not None}
    return next(iter([*schema.get("examples", ()), *schema.get("enum", ())]), None)


def resolved(document: Schema, schema: Schema) -> Schema:
    """Return the schema itself, also where the document only refers to it."""
    if "$ref" not in schema:
        return schema
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _words(
    document: Schema, url: str, method: str, path: str, parameters: Sequence[Schema]
) -> Iterator[str]:
    """Yield the lines of a command."""

    def given(place: str) -> dict[str, str]:
        return {
            each["name"]: str(example_of(each["schema"]))
            for each in parameters
            if each["in"] == place
        }

    operation = document["paths"][path][method]
    parts = {name: urllib.parse.quote(value, safe="") for name, value in given("path").items()}
    query = urllib.parse.urlencode(given("query"))
    target = shlex.quote(url + path.format(**parts) + (f"?{query}" if query else ""))
    yield f"curl {target}" if method == "get" else f"curl -X {method.upper()} {target}"
    if operation.get("security", document["security"]):
        yield KEY_HEADER
    for name, value in given("header").items():
        yield f"-H {shlex.quote(f'{name}: {value}')}"
    if "requestBody" in operation:
        ((media_type, body),) = operation["requestBody"]["content"].items()
        example = example_of(resolved(document, body["schema"]))
        yield f"-H {shlex.quote(f'Content-Type: {media_type}')}"
        yield f"-d {shlex.quote(json.dumps(example, indent=2))}"
