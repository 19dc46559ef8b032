"""An OTLP receiver: takes spans over HTTP as any OpenTelemetry collector does, and keeps them.

It decodes what comes over the wire by OpenTelemetry's own protocol buffers. A real collector is to
be had neither from PyPI nor from Debian.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Flask, request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from telemetry.spans import TRIP_ID
from tests.api.serving import serving


@dataclass(frozen=True, repr=False)
class Received:
    """A span as it came, and the service whose it is."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def attributes(self) -> Mapping[str, str | int]:
        return {each.key: value_of(each) for each in self.span.attributes}

    @property
    def is_error(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR

    @property
    def text(self) -> str:
        """All that it says."""
        return str(self.span)


def value_of(attribute: KeyValue) -> str | int:
    value = attribute.value
    return value.int_value if value.HasField("int_value") else value.string_value


@dataclass(repr=False)
class Receiver:
    """What a test scripts and reads."""

    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    requests: int = 0
    status: int = 200
    """What it answers."""
    headers: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    """How many spans it says that it has not taken."""

    def of_trip(self, trip_id: str) -> list[Received]:
        """Return the spans of a trip."""
        return [each for each in self.spans if each.attributes.get(TRIP_ID) == trip_id]

    def trace(self, trip_id: str, root: str) -> list[Received]:
        """Return the trace that began with the trip's span `root`."""
        roots = {each.span.trace_id for each in self.of_trip(trip_id) if each.name == root}
        return [each for each in self.spans if each.span.trace_id in roots]

    def take(self, body: bytes) -> None:
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: value_of(each) for each in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.spans.append(Received(str(told["service.name"]), span))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = Flask("receiver")

    @app.post("/v1/traces")
    def take() -> tuple[bytes, int, dict[str, str]]:
        assert request.content_type == "application/x-protobuf"
        receiver.requests += 1
        if receiver.status == 200:
            receiver.take(request.data)
        answer = ExportTraceServiceResponse()
        if receiver.refused:
            answer.partial_success.rejected_spans = receiver.refused
            answer.partial_success.error_message = "Too many"
        headers = {"Content-Type": "application/x-protobuf"} | receiver.headers
        return answer.SerializeToString(), receiver.status, headers

    with serving(app) as port:
        receiver.endpoint = f"http://127.0.0.1:{port}"
        yield receiver


def tree(spans: list[Received]) -> str:
    """Return spans as a tree, each child below its parent, in the order in which they began.

    Queries are left out: whether one is asked depends on when a trip is looked up.
    """
    spans = sorted(spans, key=lambda each: each.span.start_time_unix_nano)
    known = {each.span.span_id for each in spans}

    def lines(parent: bytes | None, depth: int) -> Iterator[str]:
        for each in spans:
            own_parent = each.span.parent_span_id
            is_child = own_parent == parent if parent else own_parent not in known
            if not is_child or "Query" in each.name:
                continue
            error = ""
            if each.is_error:
                error = f" ! {each.span.status.message or each.attributes['error.type']}"
            yield f"{'  ' * depth}{each.name}{error}"
            yield from lines(each.span.span_id, depth + 1)

    return "\n".join(lines(None, 0))
