"""Every count and duration of ours: its name, what it means, its labels and its buckets.

Names and units are as Prometheus and OpenTelemetry want them. No label holds an id or anything else
that has endless values.
https://prometheus.io/docs/practices/naming/, https://opentelemetry.io/docs/specs/semconv/http/
"""

import time
from collections.abc import Mapping

import prometheus_client
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from shared import KINDS, Kind

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds. OpenTelemetry advises those to ten; a request may wait a minute for its trip."""

TRIP_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600)
"""Seconds, up to a trip's deadline."""

TRY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90, 120)
"""Seconds, up to the most that one try may take."""

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)
"""The methods that are counted by their name. A client may send any other word.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""

ENDED = ("booked", "rolled_back", "expired", "cancelled")
"""How a trip ends. One that was booked and is cancelled later ends twice."""

TRY_OUTCOMES = ("done", "refused", "failed", "undecided", "record_away", "lost", "cancelled")
"""How a try ends. `refused`: with a supplier's final word, or its last allowed failure. `failed`:
with a failure that is followed by another try. `undecided`, `record_away` and `lost` cost no
attempt: the supplier has not decided yet, the record could not be asked, or the try has timed out
or was given up by a worker that stops. `cancelled`: its trip gave it up."""


class ApiMetrics:
    """What an API process counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = _registry()
        self.request_duration = Histogram(
            "http_server_request_duration_seconds",
            "HTTP requests by what they asked for, and how long they took.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.trips_accepted = Counter(
            "booking_trips_accepted_total",
            "Trips that were accepted. A request that repeats its key is not counted again.",
            registry=self.registry,
        )
        self.key_conflicts = Counter(
            "booking_idempotency_key_conflicts_total",
            "Requests whose Idempotency-Key was used with another body.",
            registry=self.registry,
        )


class WorkerMetrics:
    """What a worker counts, in a registry of its own.

    `suppliers` tells who books each kind: `embedded`, or host and port of the supplier.
    """

    def __init__(self, suppliers: Mapping[Kind, str]) -> None:
        self.suppliers = suppliers
        self.registry = _registry()
        self.trips_ended = Counter(
            "booking_trips_ended_total",
            "Trips that have ended. One that was booked and is cancelled later ends twice.",
            ("outcome",),
            registry=self.registry,
        )
        self.trip_duration = Histogram(
            "booking_trip_duration_seconds",
            "The time from the request, or from the confirm of what was held, to the outcome: of a "
            "booking, or of a cancellation. One that has expired has none.",
            ("outcome",),
            buckets=TRIP_BUCKETS,
            registry=self.registry,
        )
        self.tries = Counter(
            "booking_tries_total",
            "Tries to book or to undo a step, by how they ended.",
            ("kind", "supplier", "action", "outcome"),
            registry=self.registry,
        )
        self.try_duration = Histogram(
            "booking_try_duration_seconds",
            "How long tries took, whatever came of them.",
            ("kind", "action"),
            buckets=TRY_BUCKETS,
            registry=self.registry,
        )
        self.supplier_calls = Histogram(
            "booking_supplier_call_duration_seconds",
            "Calls of suppliers by what they answered, and how long that took.",
            ("kind", "supplier", "call", "outcome"),
            buckets=TRY_BUCKETS,
            registry=self.registry,
        )
        self._begin_at_zero()

    def supplier_called(self, kind: Kind, call: str, outcome: str, seconds: float) -> None:
        """Count a call of the supplier of `kind`."""
        supplier = self.suppliers[kind]
        self.supplier_calls.labels(kind, supplier, call, outcome).observe(seconds)

    def _begin_at_zero(self) -> None:
        """Show every count from the start, so that the first event shows as an increase."""
        for outcome in ENDED:
            self.trips_ended.labels(outcome)
            if outcome != "expired":
                self.trip_duration.labels(outcome)
        for kind in KINDS:
            for action in ("book", "undo"):
                self.try_duration.labels(kind, action)
                for outcome in TRY_OUTCOMES:
                    self.tries.labels(kind, self.suppliers[kind], action, outcome)


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


def _registry() -> CollectorRegistry:
    # The time when each count began would be one more series for each; nothing here reads it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # It has no types.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
