"""Counts the requests of a Flask app, by what they asked for and what was answered."""

import time

from flask import Flask, Response, g, request

from telemetry.metrics import ApiMetrics

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)
"""Those that have a name; a client may send any other word.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""


def measure_requests(app: Flask, metrics: ApiMetrics) -> None:
    """Count each request, from now on.

    What is put into the app earlier is not counted: this comes first, so that its time has all in
    it and its status is the one that is sent.
    """

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        begun = g.pop("begun", None)
        if begun is not None:
            # The path itself has ids in it, and where there is no route anybody's words.
            route = request.url_rule.rule if request.url_rule else ""
            method = request.method if request.method in METHODS else "_OTHER"
            counted = metrics.request_duration.labels(method, route, response.status_code)
            counted.observe(time.perf_counter() - begun)
        return response
