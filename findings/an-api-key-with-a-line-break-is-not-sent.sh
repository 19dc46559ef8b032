#!/usr/bin/env bash
# An API key that still has the line break of its file is left away, and nobody is told.
#
# Versions: temporalio 1.35.0, grpcio 1.82.1.
# Guess: Client.connect raises an error for an API key that no header can carry, or strips it.
# Seen: it connects. All calls go without `authorization`, and nothing is logged. The server's refusal
#   (Unauthenticated) is all that one sees, and it reads as if the key were wrong.
# What helps: strip what was read from a file, and check it before it is given to the client.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 grpcio==1.82.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import logging

import grpc
from temporalio.api.workflowservice.v1 import GetSystemInfoResponse
from temporalio.client import Client

KEYS = {"as it is": "a-key", "line break": "a-key\n"}


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Server(grpc.GenericRpcHandler):
    """Answers every call with an empty message, and notes what was sent."""

    def __init__(self) -> None:
        self.sent: list[str | None] = []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        metadata = dict(call.invocation_metadata)
        self.sent.append(metadata.get("authorization"))

        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            return GetSystemInfoResponse().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


async def main() -> None:
    said, seen = Lines(), {}
    logging.getLogger().addHandler(said)
    server, handler = grpc.aio.server(), Server()
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for what, key in KEYS.items():
        handler.sent.clear()
        await Client.connect(f"127.0.0.1:{port}", api_key=key, tls=False)
        seen[what] = set(handler.sent)
        print(f"{what}: authorization {seen[what]}, lines in the log: {said.lines}")
    await server.stop(None)
    assert seen["as it is"] == {"Bearer a-key"}, "it has changed"
    assert seen["line break"] == {None}, "it has changed"
    assert said.lines == [], "it has changed"


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
