#!/usr/bin/env bash
# The OTLP exporter over HTTP calls an export a success that no collector has taken.
#
# Versions: opentelemetry-exporter-otlp-proto-http 1.45.1, opentelemetry-sdk 1.45.1,
#   requests 2.34.2.
# Guess: spans that went to a wrong address are told as FAILURE: a redirect to a page of login, a
#   page of a proxy with 200, or an answer by which the collector says that it has refused spans
#   (`partial_success`, which the specification of OTLP wants clients to log).
# Seen: all three are SUCCESS, and the exporter's logger says nothing. A redirect is not followed,
#   and 302 itself counts as taken. The body and its media type do not matter. Only a status from
#   400 on is a FAILURE.
# What helps: a session with a response hook, which raises for a redirect, for a media type that is
#   not application/x-protobuf, and for `rejected_spans`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opentelemetry-exporter-otlp-proto-http==1.45.1 requests==2.34.2

cat > "$folder/look.py" <<'PYTHON'
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

REFUSED = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
).SerializeToString()


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Endpoint(BaseHTTPRequestHandler):
    asked: list[str] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(f"{self.command} {self.path}")
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/page")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        is_page = self.path == "/page"
        body = b"<p>Log in</p>" if is_page else REFUSED
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Type", "text/html" if is_page else "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


said = Lines()
logging.getLogger("opentelemetry").addHandler(said)
server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
span = TracerProvider().get_tracer("look").start_span("a span")
span.end()

seen = {}
for path in ("/moved", "/page", "/refused", "/none"):
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{server.server_port}{path}", timeout=5)
    before = len(said.lines)
    seen[path] = exporter.export([span])
    exporter.shutdown()
    print(f"{path:9} {seen[path].name:8} lines in the log: {said.lines[before:]}")
print("what the endpoint was asked:", Endpoint.asked)

assert all(seen[path] is SpanExportResult.SUCCESS for path in ("/moved", "/page", "/refused"))
assert seen["/none"] is SpanExportResult.FAILURE, "it has changed"
assert not [line for line in said.lines if "404" not in line], "it has changed"
assert Endpoint.asked[:2] == ["POST /moved", "POST /page"], "it has changed"
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
