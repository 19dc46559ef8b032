"""Whether a process traces, and that it does not suffer from it, whoever takes its spans."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry import Tracing, spans, start_tracing
from telemetry.spans import Export, SpanTracing
from tests.processes import ROOT, bare_environment, wait_until
from tests.telemetry.receiver import Receiver, receiving

HERE = "http://localhost:4318"

OFF: list[dict[str, str]] = [
    {},
    {"OTEL_SERVICE_NAME": "trips", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": HERE},
    {"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"},
    {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
]

ON = [
    {"OTEL_TRACES_EXPORTER": "otlp"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE},
    {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{HERE}/v1/traces"},
    {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_SDK_DISABLED": "false",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=s3cr3t,Authorization=Basic%20YTpi",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,host.name=a%20b",
        "OTEL_TRACES_SAMPLER": "ParentBased_TraceIdRatio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "10000",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
    },
]

BAD = [
    ("OTEL_SDK_DISABLED", "yes"),
    ("OTEL_TRACES_EXPORTER", "jaeger"),
    ("OTEL_TRACES_EXPORTER", "otlp,console"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "s3cr3t"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/not/there.pem"),
    ("OTEL_RESOURCE_ATTRIBUTES", "test"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ("OTEL_BSP_SCHEDULE_DELAY", "often"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ("OTEL_PROPAGATORS", "b3"),
]


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "traces"),
    [*((each, False) for each in OFF), *((each, True) for each in ON)],
    ids=str,
)
def test_a_process_traces_only_if_it_is_told(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], traces: bool
) -> None:
    given(monkeypatch, variables)
    tracing = Tracing()
    monkeypatch.setattr(spans, "start", {"trips": tracing}.__getitem__)
    assert (start_tracing("trips") is tracing) == traces


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_ends_the_process_with_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given(monkeypatch, {"OTEL_TRACES_EXPORTER": "otlp", name: value})
    with pytest.raises(SystemExit, match=rf"\ABad setting {name}: .+\Z") as ended:
        start_tracing("trips")
    assert "s3cr3t" not in str(ended.value)


def test_what_the_libraries_refuse_ends_the_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "10"})
    # A process has one exporter only.
    monkeypatch.setattr(spans, "Export", InMemorySpanExporter)
    with pytest.raises(SystemExit, match=r"^Bad setting OTEL_…: .*max_queue_size"):
        start_tracing("trips")


UNTRACED = """
import sys
import run_worker, starter
from telemetry import start_tracing

start_tracing("trips")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_a_process_that_does_not_trace_loads_nothing_for_it() -> None:
    command = [sys.executable, "-c", UNTRACED]
    loaded = subprocess.check_output(command, cwd=ROOT, env=bare_environment(), text=True)
    assert loaded == "[]\n"


class Hanging(SpanProcessor):
    """Does not end when it shall, as with a receiver that hangs."""

    def __init__(self) -> None:
        self.may_end, self.has_ended = threading.Event(), False

    def shutdown(self) -> None:
        self.may_end.wait(60)
        self.has_ended = True


def test_a_receiver_that_hangs_delays_no_stop(
    monkeypatch: pytest.MonkeyPatch, only_tracing: SpanTracing
) -> None:
    """`only_tracing` comes first, so that this one does not become the process's own."""
    monkeypatch.setattr(spans, "CLOSE_LIMIT", 0.1)
    hanging = Hanging()
    SpanTracing("trips", hanging).close()
    assert not hanging.has_ended
    hanging.may_end.set()


@contextmanager
def exporting(receiver: Receiver) -> Iterator[Export]:
    """The exporter of a process, which has one for good."""
    exporter = Export(f"{receiver.endpoint}/v1/traces")
    yield exporter
    exporter.shutdown()  # type: ignore[no-untyped-call]  # The library's.
    logging.getLogger(OTLPSpanExporter.__module__).removeFilter(exporter._take_note)


def test_that_spans_are_lost_is_said_once_and_that_they_are_not_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with receiving() as receiver, exporting(receiver) as exporter:
        for status in (200, 400, 400, 401, 200, 200, 400):
            receiver.status = status
            exporter.export([])
    assert receiver.requests == 7
    told = [record for record in caplog.records if record.name == "telemetry.spans"]
    lost, again, lost_again = [record.getMessage() for record in told]
    assert lost.startswith("Traces are lost: Failed to export spans batch code: 400")
    assert again == "Traces are sent again"
    assert lost_again == lost


@pytest.mark.parametrize(
    ("status", "headers", "refused", "words"),
    [
        (301, {"Location": "/elsewhere"}, 0, "301 application/x-protobuf: no collector is at"),
        (308, {"Location": "https://127.0.0.1:1/v1/traces"}, 0, "308 application/x-protobuf"),
        (200, {"Content-Type": "text/html; charset=utf-8"}, 0, "200 text/html; charset=utf-8: no"),
        (200, {}, 3, "3 spans are refused: Too many"),
    ],
)
def test_what_the_library_takes_for_a_success_is_told_as_lost(
    caplog: pytest.LogCaptureFixture,
    status: int,
    headers: dict[str, str],
    refused: int,
    words: str,
) -> None:
    with receiving() as receiver, exporting(receiver) as exporter:
        receiver.status, receiver.headers, receiver.refused = status, headers, refused
        for _ in range(3):
            assert exporter.export([]) is SpanExportResult.FAILURE
    assert receiver.requests == 3, "What is lost is not sent again"
    # The receiver's server has log lines of its own.
    [line] = [record for record in caplog.records if record.name == "telemetry.spans"]
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith("Traces are lost: ")
    assert words in line.getMessage()


def test_spans_that_meet_a_page_of_a_busy_gateway_are_sent_again() -> None:
    with receiving() as receiver, exporting(receiver) as exporter:
        receiver.status, receiver.headers = 503, {"Content-Type": "text/html", "Retry-After": "1"}

        def recover() -> None:
            wait_until(lambda: receiver.requests == 1, "the spans have come")
            receiver.status, receiver.headers = 200, {}

        recovering = threading.Thread(target=recover)
        recovering.start()
        assert exporter.export([]) is SpanExportResult.SUCCESS
        recovering.join()
    assert receiver.requests == 2
