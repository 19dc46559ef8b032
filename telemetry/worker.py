"""The worker's HTTP port: whether it lives, whether it can work, and its metrics.

The port is served on the worker's event loop, so `/livez` tells that the loop turns.
"""

import asyncio
import functools
import http
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from temporalio.runtime import Runtime
from temporalio.worker import Interceptor

from shared import Kind, is_known_host
from telemetry.gauges import CountConnections, show_connections
from telemetry.metrics import WorkerMetrics
from telemetry.sdk import CONTENT_TYPE, SdkMetrics, scraped, unmeasured_runtime
from telemetry.tries import MeasuringInterceptor

Obstacle = str | None
"""What keeps a worker from working, `None` if nothing does."""

ANSWER_LIMIT = 4.0
"""Seconds after which a question whether the worker is ready is answered in any case."""

CLOSE_LIMIT = 1.0
"""Seconds that a stopping process waits for answers that are being sent."""


class WorkerHealth:
    """Whether a worker can work. It cannot before its start, nor once it stops."""

    def __init__(self) -> None:
        self._obstacle: Obstacle = "The worker is starting"
        self._ask: Callable[[], Awaitable[Obstacle]] | None = None
        self._asking: asyncio.Future[Obstacle] | None = None

    def started(self, ask: Callable[[], Awaitable[Obstacle]]) -> None:
        """Take note that the worker works as long as `ask` finds no obstacle."""
        if self._ask is None:
            self._obstacle, self._ask = None, ask

    def stopping(self) -> None:
        """Take note that the worker takes no more work. Nothing changes that."""
        self._obstacle = "The worker is stopping"

    async def obstacle(self) -> Obstacle:
        """Return what keeps the worker from working now."""
        if self._obstacle or self._ask is None:
            return self._obstacle
        # One question at a time, however many want to know and however long it hangs.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                found = await asyncio.shield(self._asking)
        except TimeoutError:
            found = "Temporal or the record does not answer"
        return self._obstacle or found


class WorkerTelemetry:
    """What a worker needs in order to tell of itself."""

    def __init__(self, runtime: Runtime, metrics: WorkerMetrics) -> None:
        self.runtime = runtime
        """For the Temporal client."""
        self.interceptors: list[Interceptor] = [MeasuringInterceptor(metrics)]
        """For the workers of the Temporal SDK."""
        self.supplier_called = metrics.supplier_called
        self.health = WorkerHealth()
        self._registry = metrics.registry

    def started(
        self, connections: CountConnections, ask: Callable[[], Awaitable[Obstacle]]
    ) -> None:
        """Take note that the worker works as long as `ask` finds no obstacle.

        `connections` counts those to the database.
        """
        show_connections(self._registry, connections)
        self.health.started(ask)


@asynccontextmanager
async def worker_telemetry(
    suppliers: Mapping[Kind, str], host: str, port: int | None, names: Collection[str]
) -> AsyncIterator[WorkerTelemetry]:
    """Serve a worker's metrics and health until the end of the block; `None`: nowhere.

    `suppliers` tells who books each kind; the port is asked under `names`. Raises `SystemExit` with
    one line when the address cannot be bound.
    """
    metrics = WorkerMetrics(suppliers)
    if port is None:
        yield WorkerTelemetry(unmeasured_runtime(), metrics)
        return
    sdk = SdkMetrics()
    telemetry = WorkerTelemetry(sdk.runtime, metrics)
    scrape = functools.partial(scraped, metrics.registry, sdk)
    async with worker_port(host, port, names, telemetry.health, scrape):
        yield telemetry


@asynccontextmanager
async def worker_port(
    host: str,
    port: int,
    names: Collection[str],
    health: WorkerHealth,
    scrape: Callable[[], bytes],
) -> AsyncIterator[None]:
    """Serve `/livez`, `/readyz` and `/metrics`, until the end of the block.

    It answers to `names`, addresses and this machine's own names. `scrape`, which is called in a
    thread, returns the metrics. Raises `SystemExit` with one line when the address cannot be bound.
    """

    @web.middleware
    async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_known_host(told := request.headers.get("Host", "localhost"), names):
            return await handler(request)
        return _problem(
            421,
            "The worker answers only to names that it knows, and this request has "
            f"`Host: {told[:100]}`. If the name is the worker's own, add it to ALLOWED_HOSTS.",
        )

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        obstacle = await health.obstacle()
        if obstacle is None:
            return web.json_response({"status": "ok"})
        return _problem(503, obstacle)

    async def metrics(_: web.Request) -> web.Response:
        told = await asyncio.get_running_loop().run_in_executor(scraping, scrape)
        return web.Response(body=told, headers={"Content-Type": CONTENT_TYPE})

    # The loop's own threads may all be waiting for the names of suppliers.
    scraping = ThreadPoolExecutor(1, thread_name_prefix="scraping")
    app = web.Application(middlewares=[refuse_foreign])
    app.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_LIMIT)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            sys.exit(
                f"Cannot listen on METRICS_HOST, METRICS_PORT ({host}, {port}): {error.strerror}"
            )
        yield
    finally:
        await runner.cleanup()
        scraping.shutdown(wait=False)


def _problem(status: int, detail: str) -> web.Response:
    """Return a refusal by RFC 9457."""
    told = {"title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.json_response(
        {"type": "about:blank"} | told, status=status, content_type="application/problem+json"
    )
