"""Counts the requests of a Flask app by method, route and status."""

import time

from flask import Flask, Response, g, request

from telemetry.metrics import ApiMetrics

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)
"""The methods that are counted by their name. A client may send any other word.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""


def measure_requests(app: Flask, metrics: ApiMetrics) -> None:
    """Count each request, from now on.

    Call it before anything else is put into the app. Then the time covers everything, and the
    status is the one that is sent.
    """

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        begun = g.pop("begun", None)
        if begun is not None:
            # A path has ids in it. Where no route fits, it has whatever a client sends.
            route = request.url_rule.rule if request.url_rule else ""
            method = request.method if request.method in METHODS else "_OTHER"
            counted = metrics.request_duration.labels(method, route, response.status_code)
            counted.observe(time.perf_counter() - begun)
        return response
