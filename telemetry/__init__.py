"""What the processes tell of themselves: their logs, their metrics, their traces, their health."""

from telemetry.gauges import show_connections, show_places, show_promises
from telemetry.logs import configure_logging
from telemetry.metrics import ApiMetrics, measure_requests
from telemetry.sdk import SdkMetrics, scraped
from telemetry.traces import Tracing, start_tracing
from telemetry.worker import WorkerTelemetry, worker_telemetry
