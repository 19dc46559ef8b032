"""What the processes tell of themselves: their logs, their metrics, their traces, their health."""

from telemetry.gauges import AtScrape, Reading, show_connections, show_record
from telemetry.logs import configure_logging
from telemetry.metrics import (
    AUDIT_DIFFERENCES,
    AUDIT_LAST_SUCCESS,
    OUTCOME_UNKNOWN_AGE,
    OUTCOMES_UNKNOWN,
    PLACES,
    PLACES_IN_USE,
    REQUESTS_WAITING,
    TRIPS_OPEN,
    TRIPS_PAST_DEADLINE,
    UNDO_STUCK_AGE,
    UNDOS_STUCK,
    ApiMetrics,
)
from telemetry.requests import measure_requests
from telemetry.sdk import SdkMetrics, scraped, unmeasured_runtime
from telemetry.traces import Tracing, start_tracing
from telemetry.worker import WorkerTelemetry

__all__ = [
    "AUDIT_DIFFERENCES",
    "AUDIT_LAST_SUCCESS",
    "OUTCOMES_UNKNOWN",
    "OUTCOME_UNKNOWN_AGE",
    "PLACES",
    "PLACES_IN_USE",
    "REQUESTS_WAITING",
    "TRIPS_OPEN",
    "TRIPS_PAST_DEADLINE",
    "UNDOS_STUCK",
    "UNDO_STUCK_AGE",
    "ApiMetrics",
    "AtScrape",
    "Reading",
    "SdkMetrics",
    "Tracing",
    "WorkerTelemetry",
    "configure_logging",
    "measure_requests",
    "scraped",
    "show_connections",
    "show_record",
    "start_tracing",
    "unmeasured_runtime",
]
