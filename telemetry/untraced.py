"""What a process has of its tracing while it does not trace. OpenTelemetry is not imported here."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from flask import Flask
from temporalio.plugin import SimplePlugin
from yarl import URL


class TracedCall(Protocol):
    """A call of a supplier over HTTP, as far as its span tells of it."""

    trip_id: str
    method: str
    url: URL
    headers: dict[str, str]
    """What is sent; the span is added to them."""
    status: int | None
    """Of the answer, once there is one."""


class Tracing:
    """What a process has of its tracing. This one is off: it does nothing."""

    plugins: Sequence[SimplePlugin] = ()
    """For the Temporal client."""

    def trace_requests(self, app: Flask, trip_at_hand: Callable[[], str | None]) -> None:
        """Trace an app's requests; `trip_at_hand` tells which trip the current one is about."""

    def follow_call(self, call: TracedCall) -> AbstractContextManager[object]:
        """Surround a call of a supplier."""
        return nullcontext()

    def close(self) -> None:
        """Send what has not been sent yet, as far as that takes no longer than a moment."""
