"""Whether this process traces, as OpenTelemetry's standard variables say.

The OpenTelemetry libraries read the variables themselves, but ignore a value that they do not
understand. Here such a value ends the process. The libraries are not imported while tracing is off.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import sys
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FilePath, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from telemetry.untraced import Tracing

PAIRS = r"^\s*[^=,\s]+\s*=[^,]*(,\s*[^=,\s]+\s*=[^,]*)*,?\s*$"
"""https://www.w3.org/TR/baggage/#header-content, as the libraries take it"""

Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
OtlpProtocol = Literal["http/protobuf"] | None
Endpoint = Annotated[str | None, Field(pattern=r"^https?://[^\s/?#]+\S*$")]
Compression = Annotated[Literal["none", "gzip", "deflate"] | None, Lower]
Seconds = Annotated[float | None, Field(gt=0, le=600, allow_inf_nan=False)]
Pairs = Annotated[str | None, Field(pattern=PAIRS)]
Count = Annotated[int, Field(gt=0)]


def start_tracing(service: str) -> Tracing:
    """Start to trace this process if the variables say so. `service` is its default name.

    Raises `SystemExit` with one line that names the variable when a value is bad.
    """
    try:
        if not _Switch().on:
            return Tracing()
        _Variables()
        # Imported here: a process that does not trace must not load OpenTelemetry.
        from telemetry.spans import start

        return start(service)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        names = [f"OTEL_{str(name).upper()}" for name in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        sys.exit(f"Bad setting {': '.join([*names, message])}")
    except ValueError as error:
        # The libraries' own checks, such as of span limits, name the variable, too.
        sys.exit(f"Bad setting (OTEL_*): {' '.join(str(error).split())}")


class _Otel(BaseSettings):
    model_config = SettingsConfigDict(
        # By the specification, an empty value is the same as no value.
        env_prefix="OTEL_",
        env_ignore_empty=True,
        extra="ignore",
    )


class _Switch(_Otel):
    """The variables that decide whether to trace."""

    sdk_disabled: Annotated[Literal["true", "false"], Lower] = "false"
    traces_exporter: Literal["otlp", "none"] | None = None
    exporter_otlp_endpoint: str | None = None
    exporter_otlp_traces_endpoint: str | None = None

    @property
    def on(self) -> bool:
        """Whether to trace."""
        if self.sdk_disabled == "true" or self.traces_exporter == "none":
            return False
        endpoint = self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        return self.traces_exporter == "otlp" or endpoint is not None


class _Variables(_Otel):
    """The other variables. Times of exports are in seconds, as in the library.

    https://opentelemetry-python.readthedocs.io/en/stable/sdk/environment_variables.html
    """

    exporter_otlp_protocol: OtlpProtocol = None
    exporter_otlp_traces_protocol: OtlpProtocol = None
    exporter_otlp_endpoint: Endpoint = None
    exporter_otlp_traces_endpoint: Endpoint = None
    exporter_otlp_compression: Compression = None
    exporter_otlp_traces_compression: Compression = None
    exporter_otlp_timeout: Seconds = None
    exporter_otlp_traces_timeout: Seconds = None
    exporter_otlp_headers: Pairs = None
    exporter_otlp_traces_headers: Pairs = None
    exporter_otlp_certificate: FilePath | None = None
    exporter_otlp_traces_certificate: FilePath | None = None
    exporter_otlp_client_key: FilePath | None = None
    exporter_otlp_traces_client_key: FilePath | None = None
    exporter_otlp_client_certificate: FilePath | None = None
    exporter_otlp_traces_client_certificate: FilePath | None = None
    propagators: Annotated[str | None, Field(pattern=r"^(tracecontext|baggage|,| )+$")] = None
    resource_attributes: Pairs = None
    traces_sampler: Annotated[
        Literal[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ]
        | None,
        Lower,
    ] = None
    traces_sampler_arg: Annotated[float | None, Field(ge=0, le=1)] = None
    bsp_schedule_delay: Count = 5_000
    bsp_export_timeout: Count = 30_000
    bsp_max_queue_size: Count = 2_048
    bsp_max_export_batch_size: Count = 512

    @model_validator(mode="after")
    def _batch_fits(self) -> "_Variables":
        if self.bsp_max_export_batch_size > self.bsp_max_queue_size:
            raise ValueError(
                "OTEL_BSP_MAX_QUEUE_SIZE: must not be less than OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
            )
        return self
