"""Tracing that is on in the tests' process, of which there is one: OpenTelemetry keeps the first.

It touches no other test: only what is given its plugins, or follows its calls, is traced.
"""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client

from telemetry.spans import SpanTracing


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="session")
def only_tracing(exporter: InMemorySpanExporter) -> SpanTracing:
    return SpanTracing("tests", SimpleSpanProcessor(exporter))


@pytest.fixture
def tracing(only_tracing: SpanTracing, exporter: InMemorySpanExporter) -> Iterator[SpanTracing]:
    """Tracing whose spans are in `exporter`, where none is before the test."""
    exporter.clear()
    yield only_tracing
    exporter.clear()


@pytest.fixture
def traced_client(client: Client, tracing: SpanTracing) -> Client:
    """The client, as a process has it that traces."""
    config = client.config()
    config["plugins"] = tracing.plugins
    return Client(**config)
