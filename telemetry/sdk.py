"""The metrics of Temporal's SDK, which its runtime keeps, together with ours.

https://docs.temporal.io/references/sdk-metrics
"""

import logging
import socket
import urllib.error
import urllib.request

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from telemetry.logs import SDK_LOGGING
from telemetry.metrics import REQUEST_BUCKETS, TRIP_BUCKETS, TRY_BUCKETS

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Prometheus' text format, the only one that the SDK speaks."""

READ_LIMIT = 1.0
"""Seconds that the SDK may take to tell its metrics. It takes milliseconds."""

LOOPBACK = "127.0.0.1"

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks without a proxy, whatever `http_proxy` says."""

BUCKETS = {
    # The SDK's own buckets end at 10 to 60 seconds.
    "workflow_endtoend_latency": TRIP_BUCKETS,
    "activity_execution_latency": TRY_BUCKETS,
    "activity_succeed_endtoend_latency": (*TRY_BUCKETS, 300, 600),
    "activity_schedule_to_start_latency": REQUEST_BUCKETS,
    "workflow_task_schedule_to_start_latency": REQUEST_BUCKETS,
}


class SdkMetrics:
    """The SDK's metrics of a process, of all clients and workers that use its `runtime`.

    A runtime has threads of its own: one is enough for a process.
    """

    def __init__(self) -> None:
        while True:
            # The SDK can choose a free port itself, but does not say which.
            with socket.socket() as probe:
                probe.bind((LOOPBACK, 0))
                address = f"{LOOPBACK}:{probe.getsockname()[1]}"
            metrics = PrometheusConfig(
                address,
                counters_total_suffix=True,
                unit_suffix=True,
                durations_as_seconds=True,
                histogram_bucket_overrides=BUCKETS,
            )
            try:
                self.runtime = Runtime(telemetry=TelemetryConfig(SDK_LOGGING, metrics))
            except ValueError as error:
                if "Address already in use" not in str(error):
                    raise
            else:
                break
        self._url = f"http://{address}/metrics"

    def read(self) -> bytes:
        """Return the metrics as they stand; nothing if that takes too long."""
        try:
            with DIRECT.open(self._url, timeout=READ_LIMIT) as answer:
                told: bytes = answer.read()
        except OSError as error:
            logger.warning("The SDK's metrics are missing: %s", error)
            return b""
        return told


def scraped(registry: CollectorRegistry, sdk: SdkMetrics | None) -> bytes:
    """Return all metrics of a process, as `CONTENT_TYPE` says. It takes three seconds at most."""
    return generate_latest(registry) + (sdk.read() if sdk else b"")


def unmeasured_runtime() -> Runtime:
    """Return a runtime whose metrics nobody reads. It logs as the process does."""
    return Runtime(telemetry=TelemetryConfig(logging=SDK_LOGGING))
