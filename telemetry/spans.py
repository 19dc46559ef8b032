"""The spans of a process that traces: which there are, what they tell, where they go.

A trip is one trace: the request, the start of its workflow, the workflow, each activity, each try
of it, the supplier's call. No span has a traveller's name, an item or a credential. The text of an
error that travellers may read is in its span.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import requests
from flask import Flask, Response, request
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio import workflow
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider

from telemetry.logs import trip_of
from telemetry.metrics import METHODS
from telemetry.traces import TracedCall, Tracing

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

TRIP_ID = "booking.trip_id"
"""The attribute by which a trip's spans are found."""

WORKFLOW_ID = "temporalWorkflowID"
"""The SDK's attribute."""

NOT_TRACED = ("/livez", "/readyz", "/metrics", "/static/")
"""Paths that begin so are asked again and again, and concern no trip."""

A_WORKFLOW = "RunWorkflow:"
A_TRY = "RunActivity:"
"""How the SDK's names for the spans of a workflow and of a try begin."""

trying: ContextVar[trace.SpanContext] = ContextVar("trying")
"""The span of the try that the current task runs or has run. The SDK logs the failure of a try
after its span has ended."""

CLOSE_LIMIT = 2.0
"""Seconds that a stopping process waits for its last spans to be sent."""

# OpenTelemetry's global propagator would pass on baggage, too: whatever a client has sent.
PROPAGATOR = TraceContextTextMapPropagator()


def start(service: str) -> "SpanTracing":
    """Start to trace this process as the `OTEL_*` variables say. `service` is its default name.

    Raises `ValueError`.
    """
    tracing = SpanTracing(service, BatchSpanProcessor(Export()))
    for handler in logging.getLogger().handlers:
        handler.addFilter(with_trace_id)
    return tracing


class SpanTracing(Tracing):
    """Tracing that is on: spans go to `sending`. A process has at most one."""

    def __init__(self, service: str, sending: SpanProcessor) -> None:
        named = OTELResourceDetector().detect().attributes.get(SERVICE_NAME, service)
        # The processes skip the interpreter's own end, and close the provider themselves.
        self._provider = create_tracer_provider(
            resource=Resource.create({SERVICE_NAME: named}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_OfTrips(sending))
        # The SDK's plugin uses the global provider only.
        trace.set_tracer_provider(self._provider)
        # The plugin's spans last as long as the workflow, and keep their ids on whichever worker it
        # continues. The spans of the SDK's older interceptor do neither.
        self.plugins = [OpenTelemetryPlugin(add_temporal_spans=True)]
        self._tracer = self._provider.get_tracer(__name__)
        # When a worker stops, Python ends its open workflows outside of their contexts. The library
        # would log a failure for each.
        logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)

    def trace_requests(self, app: Flask, trip_at_hand: Callable[[], str | None]) -> None:
        """Give each request a span, which goes on with the `traceparent` that came with it."""
        serve = app.wsgi_app

        def traced(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            if environ["PATH_INFO"].startswith(NOT_TRACED):
                return serve(environ, start_response)
            sent = {
                name: environ.get(f"HTTP_{name.upper()}", "")
                for name in ("traceparent", "tracestate")
            }
            with self._tracer.start_as_current_span(
                _method_of(environ), PROPAGATOR.extract(sent, Context()), SpanKind.SERVER
            ):
                return serve(environ, start_response)

        def describe(response: Response) -> Response:
            _describe_request(response, trip_at_hand())
            return response

        app.wsgi_app = traced  # type: ignore[method-assign]  # Flask's own way to wrap an app.
        app.after_request(describe)

    @contextmanager
    def follow_call(self, call: TracedCall) -> Iterator[None]:
        """Give a call a span, which the supplier can go on with.

        https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
        """
        attributes: dict[str, str | int] = {
            TRIP_ID: call.trip_id,
            "http.request.method": call.method,
            "server.address": call.url.host or "",
            "server.port": call.url.port or 0,
            "url.full": str(call.url),
        }
        with self._tracer.start_as_current_span(
            f"{call.method} /reservations/{{trip_id}}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            PROPAGATOR.inject(call.headers)
            try:
                yield
            except (Exception, asyncio.CancelledError) as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
                raise
            finally:
                _set_status(span, call.status, errors_from=400)

    def close(self) -> None:
        """Send what has not been sent yet, `CLOSE_LIMIT` at the most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT)


def _method_of(environ: "WSGIEnvironment") -> str:
    method = environ["REQUEST_METHOD"]
    return method if method in METHODS else "HTTP"


def _describe_request(response: Response, trip_id: str | None) -> None:
    """Describe the request and its answer in its span, by OpenTelemetry's conventions.

    The query is left out, because it may have a traveller's name; so is the client's address.
    https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
    """
    span = trace.get_current_span()
    method = _method_of(request.environ)
    span.set_attribute("http.request.method", method if method in METHODS else "_OTHER")
    span.set_attribute("url.scheme", request.scheme)
    if request.url_rule is not None:
        span.update_name(f"{method} {request.url_rule}")
        span.set_attribute("http.route", str(request.url_rule))
        span.set_attribute("url.path", request.path)
    if trip_id is not None:
        span.set_attribute(TRIP_ID, trip_id)
    _set_status(span, response.status_code, errors_from=500)


def _set_status(span: trace.Span, status: int | None, errors_from: int) -> None:
    if status is None:
        return
    span.set_attribute("http.response.status_code", status)
    if status >= errors_from:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


class _OfTrips(SpanProcessor):
    """Adds the trip's id to the SDK's spans, which have the workflow's, before they go on."""

    def __init__(self, sending: SpanProcessor) -> None:
        self._sending = sending

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Complete a span that has begun."""
        workflow_id = (span.attributes or {}).get(WORKFLOW_ID)
        if isinstance(workflow_id, str) and (trip_id := trip_of(workflow_id)):
            span.set_attribute(TRIP_ID, trip_id)
        if span.name.startswith(A_TRY):
            trying.set(span.get_span_context())

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on a span that has ended.

        When a worker stops, Python also ends spans of workflows that continue elsewhere. Those are
        not passed on.
        """
        if workflow.in_workflow() or not span.name.startswith(A_WORKFLOW):
            self._sending.on_end(span)

    def shutdown(self) -> None:
        """Send what has not been sent yet, and nothing any more."""
        self._sending.shutdown()


class Export(OTLPSpanExporter):
    """Sends spans. It logs once when that fails, and once when it succeeds again.

    The library itself would log every try.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        session = requests.Session()
        session.hooks["response"].append(_all_taken)
        super().__init__(endpoint, session=session)
        self._failing = False
        self._reasons: list[str] = []
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._take_note)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        self._reasons.clear()
        result = super().export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger.warning("Traces are lost: %s", " ".join(self._reasons[:1]))
        elif self._failing and not failing:
            logger.info("Traces are sent again")
        self._failing = failing
        return result

    def _take_note(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_without_values, record.args))
        self._reasons.append(record.getMessage())
        return False


class _NotTaken(ValueError):
    """The collector has not taken all spans."""


def _without_values(part: object) -> object:
    """Return what the log may have: an error of a library repeats an address or a header."""
    if not isinstance(part, Exception) or isinstance(part, _NotTaken):
        return part
    cause: BaseException | None = part
    while cause and not getattr(cause, "strerror", None):
        cause = cause.__context__
    return " ".join(filter(None, [type(part).__name__, getattr(cause, "strerror", None)]))


def _all_taken(answer: requests.Response, *_: object, **__: object) -> None:
    """Raise `_NotTaken` for an answer that loses spans, and that the library calls a success.

    https://opentelemetry.io/docs/specs/otlp/#partial-success-1
    """
    content = answer.content  # All is read, so that the connection can be used again.
    media_type = answer.headers.get("Content-Type", "")
    if answer.is_redirect or (answer.ok and media_type.startswith("text/html")):
        raise _NotTaken(f"{answer.status_code} {media_type}: no collector is at this endpoint")
    if answer.ok and media_type == "application/x-protobuf":
        taken = ExportTraceServiceResponse.FromString(content).partial_success
        if taken.rejected_spans:
            raise _NotTaken(f"{taken.rejected_spans} spans are refused: {taken.error_message}")


def with_trace_id(record: logging.LogRecord) -> bool:
    """Give a log record the id of the trace that it belongs to, if it belongs to one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        context = trying.get(context)
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
    return True
