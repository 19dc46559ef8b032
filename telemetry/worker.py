"""What a worker tells of itself at a port of its own, put together."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from shared import Kind
from telemetry.health import WorkerHealth, health_port
from telemetry.metrics import WorkerMetrics
from telemetry.sdk import SdkMetrics, scraped
from telemetry.tries import MeasuringInterceptor


class WorkerTelemetry:
    """A worker's metrics, the SDK's, and its health. `suppliers` tells who books each kind."""

    def __init__(self, suppliers: Mapping[Kind, str]) -> None:
        self.metrics = WorkerMetrics(suppliers)
        self.sdk = SdkMetrics()
        self.health = WorkerHealth()
        self.interceptor = MeasuringInterceptor(self.metrics)

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve it all until the end of the block. Raises `SystemExit` with one line."""

        def scrape() -> bytes:
            return scraped(self.metrics.registry, self.sdk)

        async with health_port(host, port, self.health, scrape):
            yield
