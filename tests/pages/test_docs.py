"""The page `/docs`, made of the OpenAPI document; and its commands, which do what they say."""

import html
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections import defaultdict
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import openapi_document
from api.examples import TRIP_ID
from pages import reference
from pages.blueprint import DOCS_KEPT
from tests.api.serving import serving
from tests.api.stand_in import StandIn, app_over
from tests.api.test_api_document import examples_of, operations

JSON = "application/json"


@pytest.fixture(scope="module")
def http() -> FlaskClient:
    return app_over(StandIn()).test_client()


@pytest.fixture(scope="module")
def document(http: FlaskClient) -> dict[str, Any]:
    response = http.get("/openapi.json")
    assert response.json is not None
    return dict(response.json)


def sections(page: str) -> dict[str, str]:
    """Return what the page has on each operation, by its id."""
    return dict(re.findall(r'<section class="operation" id="(\w+)">(.*?)</section>', page, re.S))


def commands(section: str) -> list[str]:
    found = re.findall(r'<div class="command">\s*<pre><code>(.*?)</code></pre>', section, re.S)
    return [html.unescape(command) for command in found]


def test_the_page_tells_each_operations_request_answers_and_errors(
    http: FlaskClient, document: dict[str, Any]
) -> None:
    shown = sections(http.get("/docs").text)
    assert set(shown) == {found["operationId"] for _, found in operations(document)}
    for name, operation in operations(document):
        section = html.unescape(shown[operation["operationId"]])
        assert operation["summary"] in section
        assert commands(section), name
        for parameter in operation.get("parameters", ()):
            assert f"<code>{parameter['name']}</code>" in section, name
        if "requestBody" in operation:
            body = section.partition("<h4>Body</h4>")[2]
            schema = reference.resolved(
                document, operation["requestBody"]["content"][JSON]["schema"]
            )
            assert all(f"<code>{field}</code>" in body for field in schema["properties"])
            assert body.count("<span>required</span>") >= len(schema["required"])
        for status, answer in operation["responses"].items():
            assert f"<b>{status} " in section, name
            for header in answer["headers"]:
                assert f"<code>{header}</code>" in section, (name, status)
            for media_type in answer["content"].values():
                for example in examples_of(media_type):
                    text = example if isinstance(example, str) else json.dumps(example, indent=2)
                    assert text in section, (name, status)


def test_the_page_loads_nothing_from_elsewhere_and_has_no_script_in_it(http: FlaskClient) -> None:
    page = http.get("/docs").text
    loaded = re.findall(r'(?: src|<link[^>]* href)="([^"]*)"', page)
    assert "/static/pages.css" in [each.partition("?")[0] for each in loaded]
    assert all(each.startswith("/static/") for each in loaded)
    assert re.findall(r"<script(?! src=)| on\w+=|<style| style=", page) == []


def test_what_an_example_holds_reaches_curl_as_it_is() -> None:
    odd = """it's "$HOME" `id` \\ $(id) a/b?c#d&e=f% 😀"""
    parameters = [
        {"name": name, "in": name, "required": True, "example": odd}
        for name in ("path", "query", "header")
    ]
    operation = {
        "parameters": parameters,
        "requestBody": {"content": {"application/json": {"example": {odd: odd}}}},
    }
    document = {"paths": {"/{path}": {"put": operation}}, "security": [{"apiKey": []}]}
    (command,) = reference.commands(document, "http://[::1]:3000", "put", "/{path}")
    printing = f"curl() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    given = subprocess.run(
        ["sh", "-c", printing], env={"API_KEY": odd}, capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    method, url, *rest = given[1:]
    assert method == "PUT"
    parts = urllib.parse.urlsplit(url)
    assert parts.netloc == "[::1]:3000"
    assert parts.path.count("/") == 1
    assert urllib.parse.unquote(parts.path) == f"/{odd}"
    assert urllib.parse.parse_qs(parts.query) == {"query": [odd]}
    assert rest[:-1] == [
        *("-H", f"Authorization: Bearer {odd}"),
        *("-H", f"header: {odd}"),
        *("-H", f"Content-Type: {JSON}"),
        "-d",
    ]
    assert json.loads(rest[-1]) == {odd: odd}


def test_no_command_sends_a_key_in_clear_to_another_host() -> None:
    told = app_over(
        StandIn(), api_keys="reader:secret-of-a-reader", public_url="https://a.example/b"
    )
    untold = app_over(StandIn(), api_keys="reader:secret-of-a-reader")
    for app, start in ((told, "https://a.example/b/bookings"), (untold, '"$SERVICE_URL"/bookings')):
        page = app.test_client().get("/docs", headers={"Host": "trips.example"}).text
        shown = [command for section in sections(page).values() for command in commands(section)]
        assert any(f"curl {start}" in command for command in shown)
        assert not any("http://" in command for command in shown)
        assert ("SERVICE_URL=" in page) is (app is untold)


def test_page_and_document_are_made_once_and_not_for_each_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def counted(*args: Any, **kwargs: Any) -> dict[str, Any]:
        made.append(args)
        return openapi_document(*args, **kwargs)

    monkeypatch.setattr("api.routes.openapi_document", counted)
    monkeypatch.setattr("pages.blueprint.openapi_document", counted)
    http = app_over(StandIn(), api_keys="reader:secret-of-a-reader").test_client()
    assert http.get("/openapi.json").text == http.get("/openapi.json").text
    assert len(made) == 1
    for host in ("a.example", "b.example", "localhost:3000", "a.example", "localhost:3000"):
        page = http.get("/docs", headers={"Host": host}).text
        assert ("http://localhost:3000/" in page) is (host == "localhost:3000")
    assert len(made) == 3, "Of other hosts there is one page, which names none"
    for port in range(3 * DOCS_KEPT):
        assert "curl " in http.get("/docs", headers={"Host": f"localhost:{port}"}).text
    assert len(made) == 1 + DOCS_KEPT


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")
def test_every_command_of_the_page_does_what_it_says() -> None:
    key, answered = "secret-of-a-reader", defaultdict[str, list[int]](list)
    app = app_over(StandIn(), api_keys=f"reader:{key}:operator")
    with serving(app) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/docs", timeout=60) as page:
            shown = sections(page.read().decode())
        user_id = TRIP_ID
        for operation, section in shown.items():
            for command in commands(section):
                status, body = run(command.replace(TRIP_ID, user_id), key)
                user_id = body.get("user_id", user_id) if operation == "book" else user_id
                answered[operation].append(status)
    # Nothing of the trip is stuck, which was cancelled before.
    assert answered.pop("resolve_undo") == answered.pop("retry_undo") == [409]
    assert answered.pop("confirm_booking") == [409]  # It was booked at once.
    assert answered.pop("redeliver_event") == [404]  # The example's event is none of this service.
    assert {status for each in answered.values() for status in each} == {200}, answered


def run(command: str, key: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the body that a command shows."""
    shown = subprocess.run(
        ["sh", "-c", f"{command} --silent --show-error --write-out '\n%{{http_code}}'"],
        env={"PATH": os.environ["PATH"], "API_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    body, _, status = shown.rpartition("\n")
    return int(status), json.loads(body) if body.startswith("{") else {}
