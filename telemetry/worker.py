"""What a worker tells of itself at a port of its own, put together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from temporalio.runtime import Runtime
from temporalio.worker import Interceptor

from shared import Kind
from telemetry.gauges import CountConnections, show_connections
from telemetry.health import Obstacle, WorkerHealth, health_port
from telemetry.metrics import WorkerMetrics
from telemetry.sdk import SdkMetrics, scraped, unmeasured_runtime
from telemetry.tries import MeasuringInterceptor

SupplierCalled = Callable[[Kind, str, str, float], object]
"""Takes the kind, the call, what came of it, and the seconds that it took."""

Started = Callable[[CountConnections, Callable[[], Awaitable[Obstacle]]], object]
"""Takes what counts the connections to the database, and what finds an obstacle to the work."""


class WorkerTelemetry(NamedTuple):
    """What a worker needs in order to tell of itself. By default it tells nothing."""

    runtime: Runtime
    """For the Temporal client."""
    interceptors: Sequence[Interceptor] = ()
    """For the workers of the Temporal SDK."""
    supplier_called: SupplierCalled | None = None
    started: Started = lambda *_: None
    """To be called when the worker polls."""
    stopping: Callable[[], object] = lambda: None
    """To be called when the worker takes no more work."""


@asynccontextmanager
async def worker_telemetry(
    suppliers: Mapping[Kind, str], host: str, port: int | None
) -> AsyncIterator[WorkerTelemetry]:
    """Serve a worker's metrics and health until the end of the block; `None`: nowhere.

    `suppliers` tells who books each kind. Raises `SystemExit` with one line when the address cannot
    be bound.
    """
    if port is None:
        yield WorkerTelemetry(unmeasured_runtime())
        return
    metrics, sdk, health = WorkerMetrics(suppliers), SdkMetrics(), WorkerHealth()

    def started(connections: CountConnections, ask: Callable[[], Awaitable[Obstacle]]) -> None:
        show_connections(metrics.registry, connections)
        health.started(ask)

    async with health_port(host, port, health, lambda: scraped(metrics.registry, sdk)):
        yield WorkerTelemetry(
            sdk.runtime,
            [MeasuringInterceptor(metrics)],
            metrics.supplier_called,
            started,
            health.stopping,
        )
