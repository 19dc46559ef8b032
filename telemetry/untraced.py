"""The tracing of a process that does not trace. OpenTelemetry is not imported here."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from flask import Flask
from temporalio.plugin import SimplePlugin
from yarl import URL


class TracedCall(Protocol):
    """What a span tells of a call of a supplier over HTTP."""

    trip_id: str
    method: str
    url: URL
    headers: dict[str, str]
    """The headers to be sent; the span adds its own."""
    status: int | None
    """The status of the answer, once there is one."""


class Tracing:
    """The tracing of a process. This one is off: it does nothing."""

    plugins: Sequence[SimplePlugin] = ()
    """For the Temporal client."""

    def trace_requests(self, app: Flask, trip_at_hand: Callable[[], str | None]) -> None:
        """Trace the requests of an app; `trip_at_hand` returns the trip of the current one."""

    def follow_call(self, call: TracedCall) -> AbstractContextManager[object]:
        """Surround a call of a supplier."""
        return nullcontext()

    def close(self) -> None:
        """Send the remaining spans, unless that takes too long."""
