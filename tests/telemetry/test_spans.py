"""The spans of requests and of suppliers' calls: one for each, with what it may tell."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from temporalio.client import Client

from api import trip_at_hand
from settings import Settings
from starter import create_app
from suppliers import HttpSupplier
from telemetry.spans import SpanTracing, with_trace_id
from tests.api.api_client import JOHN, Api
from tests.faults import DEADLINE
from tests.processes import free_port
from tests.suppliers.over_http.raw_service import (
    CONFIRMED,
    FULL,
    TOKEN,
    Answer,
    RawService,
    call,
    http,
    raw_service,
)
from tests.suppliers.script import trip

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
async def service() -> AsyncIterator[RawService]:
    async with raw_service() as served:
        yield served


@pytest.fixture
def api(client: Client, tracing: SpanTracing) -> Api:
    """The API of a process that traces, of a record that is away."""
    app = create_app(client, Settings(database_url="sqlite:////not-mounted/record.db"))

    @app.get("/bug")
    def bug() -> str:
        raise LookupError("Lovelace")

    tracing.trace_requests(app, trip_at_hand)
    return Api(app.test_client())


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    """Return the one span that there is."""
    (span,) = exporter.get_finished_spans()
    return span


def hotels_of(url: str, tracing: SpanTracing) -> HttpSupplier:
    return HttpSupplier("hotel", url, TOKEN, follow_call=tracing.follow_call)


@pytest.mark.parametrize(
    ("method", "answer", "status", "failure"),
    [
        ("PUT", http(201, CONFIRMED), 201, None),
        ("PUT", http(409, FULL, problem=True), 409, "409"),
        ("GET", http(404), 404, "404"),
        ("DELETE", http(503), 503, "503"),
        ("PUT", Answer(b"", "close"), None, "NoAnswer"),
        ("PUT", Answer(http(200, CONFIRMED).raw[:-5], "close"), None, "NoAnswer"),
        ("PUT", http(200, b"not JSON"), 200, None),
    ],
)
async def test_a_supplier_goes_on_with_the_one_span_of_a_call(
    service: RawService,
    tracing: SpanTracing,
    exporter: InMemorySpanExporter,
    method: str,
    answer: Answer,
    status: int | None,
    failure: str | None,
) -> None:
    service.says(answer)
    hotels = hotels_of(service.url, tracing)
    await call(hotels, method, trip())
    await hotels.close()
    span, (request,) = only(exporter), service.requests
    assert span.context and span.attributes
    trace_id, span_id = span.context.trace_id, span.context.span_id
    assert request.headers["traceparent"] == (
        f"00-{format_trace_id(trace_id)}-{format_span_id(span_id)}-01"
    )
    assert (span.name, span.kind) == (f"{method} /reservations/{{trip_id}}", SpanKind.CLIENT)
    assert span.attributes["booking.trip_id"] == "trip"
    assert span.attributes["url.full"] == f"{service.url}/reservations/trip"
    assert span.attributes.get("http.response.status_code") == status
    assert span.attributes.get("error.type") == failure
    assert span.status.is_ok == (failure is None)
    assert TOKEN not in span.to_json()


async def test_a_call_that_reaches_nobody_has_a_span_too(
    tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    hotels = hotels_of(f"http://127.0.0.1:{free_port()}", tracing)
    await call(hotels, "PUT", trip())
    await hotels.close()
    span = only(exporter)
    assert span.attributes
    assert span.attributes["error.type"] == "NotSent"
    assert "Connect call failed" in (span.status.description or "")


async def test_a_call_that_is_given_up_has_failed(
    service: RawService, tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    service.answering.clear()
    service.says(http(201, CONFIRMED))
    hotels = hotels_of(service.url, tracing)
    asking = asyncio.create_task(hotels.book(trip(), 1))
    async with asyncio.timeout(DEADLINE):
        await service.asked()
    asking.cancel()
    await asyncio.wait({asking})
    await hotels.close()
    span = only(exporter)
    assert span.attributes
    assert (span.attributes["error.type"], span.status.is_ok) == ("CancelledError", False)


async def test_a_request_goes_on_with_the_trace_that_came_with_it(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "shop=7"}
    await api.get("/bookings/some-trip", headers=headers)
    span = only(exporter)
    assert span.context and span.parent and span.attributes
    assert format_trace_id(span.context.trace_id) == TRACE
    assert format_span_id(span.parent.span_id) == PARENT
    assert span.context.trace_state.to_header() == "shop=7"
    assert (span.name, span.kind) == ("GET /bookings/<user_id>", SpanKind.SERVER)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/bookings/<user_id>",
        "url.path": "/bookings/some-trip",
        "booking.trip_id": "some-trip",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert not span.status.is_ok


async def test_what_is_logged_during_a_request_leads_to_its_trace(
    api: Api, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(with_trace_id)
    await api.get("/bookings/some-trip")
    caplog.handler.removeFilter(with_trace_id)
    context = only(exporter).context
    (record,) = caplog.records
    assert context
    assert vars(record)["trace_id"] == format_trace_id(context.trace_id)


@pytest.mark.parametrize(
    "sent", ["", "nonsense", f"00-{TRACE}-{PARENT}", f"00-{'0' * 32}-{PARENT}-01"]
)
async def test_a_request_without_a_trace_begins_one(
    api: Api, exporter: InMemorySpanExporter, sent: str
) -> None:
    await api.book(JOHN, traceparent=sent)
    span = only(exporter)
    assert span.attributes
    assert (span.name, span.parent) == ("POST /book", None)
    assert "booking.trip_id" not in span.attributes, "No trip was accepted: the record is away"
    assert JOHN["name"] not in span.to_json()


async def test_what_its_sender_does_not_sample_is_not_sent(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    await api.get("/bookings", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/static/pages.css"])
async def test_what_is_about_no_trip_is_not_traced(
    api: Api, exporter: InMemorySpanExporter, path: str
) -> None:
    await api.get(path)
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/openapi.json?name=Ada+Lovelace&car=Xanadu", "GET /openapi.json"),
        ("GET", "/Ada-Lovelace", "GET"),
        ("LOVELACE", "/", "HTTP"),
        ("GET", "/bug?name=Lovelace", "GET /bug"),
        ("GET", "/bookings?status=Lovelace", "GET /bookings"),
    ],
)
async def test_a_request_tells_nothing_of_the_traveller(
    api: Api, exporter: InMemorySpanExporter, method: str, path: str, name: str
) -> None:
    await api.call(method, path, headers={"User-Agent": "Lovelace", "Baggage": "name=Lovelace"})
    span = only(exporter)
    assert span.name == name
    assert "Lovelace" not in span.to_json()
    assert "Xanadu" not in span.to_json()
    assert "127.0.0.1" not in span.to_json()
