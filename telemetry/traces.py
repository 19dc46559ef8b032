"""Whether this process traces, as OpenTelemetry's standard variables say.

The OpenTelemetry libraries read the variables themselves, but ignore a value that they do not
understand. Here such a value ends the process. The libraries are not imported while tracing is off.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal, Protocol

from flask import Flask
from pydantic import AfterValidator, BeforeValidator, Field, FilePath, TypeAdapter, ValidationError
from temporalio.plugin import SimplePlugin
from yarl import URL

Lower = BeforeValidator(str.lower)
Pairs = Annotated[str, Field(pattern=r"^\s*[^=,\s]+\s*=[^,]*(,\s*[^=,\s]+\s*=[^,]*)*,?\s*$")]
"""https://www.w3.org/TR/baggage/#header-content, as the libraries take it"""
HEADER = re.compile(r"\s*[!#$%&'*+.^`|~\w-]+\s*=(%(?![01]|7[Ff])|[^\x00-\x1f\x7f\",;\\%])*", re.A)
"""One header that can be sent, perhaps percent-encoded. The libraries log any other as it is."""


def _sendable(text: str) -> str:
    if all(HEADER.fullmatch(each) and each.isascii() for each in text.split(",") if each.strip()):
        return text
    raise ValueError("must be name=value, separated by commas, with all else percent-encoded")


def _address(text: str) -> str:
    # yarl's own error repeats the address, which may have a password in it.
    with contextlib.suppress(ValueError):
        if (url := URL(text)).scheme in ("http", "https") and url.host and url.port:
            return text
    raise ValueError("must be http://host:port/path or https://…")


Count = Annotated[int, Field(gt=0)]

DISABLED = Annotated[Literal["true", "false"], Lower]
EXPORTER = Literal["otlp", "none"]

OTLP: dict[str, Any] = {
    "PROTOCOL": Literal["http/protobuf"],
    "ENDPOINT": Annotated[str, AfterValidator(_address)],
    "COMPRESSION": Annotated[Literal["none", "gzip", "deflate"], Lower],
    # Seconds, as in the library.
    "TIMEOUT": Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)],
    "HEADERS": Annotated[str, AfterValidator(_sendable)],
    "CERTIFICATE": FilePath,
    "CLIENT_KEY": FilePath,
    "CLIENT_CERTIFICATE": FilePath,
}
"""How spans are sent. Each variable exists for all signals, and for traces alone."""
FOR = ("OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_TRACES")

SAMPLERS = Literal["always_on", "always_off", "traceidratio"]
PARENT_BASED = Literal[
    "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"
]

CHECKED: dict[str, Any] = {
    **{f"{prefix}_{name}": kind for prefix in FOR for name, kind in OTLP.items()},
    "OTEL_PROPAGATORS": Annotated[str, Field(pattern=r"^(tracecontext|baggage|,| )+$")],
    "OTEL_RESOURCE_ATTRIBUTES": Pairs,
    "OTEL_TRACES_SAMPLER": Annotated[SAMPLERS | PARENT_BASED, Lower],
    "OTEL_TRACES_SAMPLER_ARG": Annotated[float, Field(ge=0, le=1)],
    "OTEL_BSP_SCHEDULE_DELAY": Count,
    "OTEL_BSP_EXPORT_TIMEOUT": Count,
    "OTEL_BSP_MAX_QUEUE_SIZE": Count,
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": Count,
}
"""The variables of a process that traces."""


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


def start_tracing(service: str) -> Tracing:
    """Start to trace this process if the variables say so. `service` is its default name.

    Raises `SystemExit` with one line that names the variable when a value is bad.
    """
    if not _is_on():
        return Tracing()
    for name, kind in CHECKED.items():
        _value(name, kind)
    try:
        # Imported here: a process that does not trace must not load OpenTelemetry.
        from telemetry.spans import start

        return start(service)
    except ValueError as error:
        # The libraries' own checks, such as of span limits, name the variable, and then its value.
        sys.exit(f"Bad setting OTEL_…: {' '.join(str(error).split()).partition(' but got ')[0]}")


def _is_on() -> bool:
    disabled = _value("OTEL_SDK_DISABLED", DISABLED)
    exporter = _value("OTEL_TRACES_EXPORTER", EXPORTER)
    if disabled == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(os.environ.get(f"{prefix}_ENDPOINT") for prefix in FOR)


def _value(name: str, kind: Any) -> Any:
    """Return the value of a variable. By the specification, an empty one is the same as none."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        # The value is not shown: headers have credentials.
        message = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        sys.exit(f"Bad setting {name}: {message}")
