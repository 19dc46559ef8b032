"""Gauges that are read when somebody scrapes: what is read, and that reading it holds nobody up."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from telemetry.metrics import DATABASE_CONNECTIONS, DATABASE_CONNECTIONS_MAX, RECORD_UP, Gauge

logger = logging.getLogger(__name__)

Reading = Mapping[Gauge, float | Mapping[str, float]]
"""What each gauge says: one value, or one for each value of its label."""

Answer = TypeVar("Answer")

QUESTION_INTERVAL = 5.0
"""Seconds for which an answer of the record serves whoever scrapes."""

QUESTION_LIMIT = 2.0
"""Seconds that a scrape waits for it. Prometheus gives a scrape up after ten."""


class AtScrape(Collector):
    """Shows what `read` returns, which is called at each scrape."""

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Reading]) -> None:
        self._read = read
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges that can be read."""
        for gauge, told in self._read().items():
            if not isinstance(told, Mapping):
                yield GaugeMetricFamily(gauge.name, gauge.meaning, value=told)
                continue
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=[gauge.label or ""])
            for value, number in told.items():
                family.add_metric([value], number)
            yield family


class Seldom(Generic[Answer]):
    """Asks a question once at a time and not too often, however many want to know.

    It has a thread of its own, and an event loop of its own for each question, so that it takes
    nothing that a request needs.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._ask = ask
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="gauges")
        self._lock = threading.Lock()
        self._asked: concurrent.futures.Future[Answer] | None = None
        self._asked_at = 0.0

    def answer(self) -> Answer:
        """Return the answer. Raises what the question raises, and `TimeoutError`."""
        with self._lock:
            now = time.monotonic()
            if self._asked is None or (
                self._asked.done() and now >= self._asked_at + QUESTION_INTERVAL
            ):
                self._asked = self._thread.submit(lambda: asyncio.run(self._ask()))
                self._asked_at = now
            asked = self._asked
        return asked.result(QUESTION_LIMIT)


def show_record(
    registry: CollectorRegistry, ask: Callable[[], Coroutine[Any, Any, Reading]]
) -> None:
    """Show what the record says, or that it cannot be read."""
    seldom = Seldom(ask)

    def read() -> Reading:
        try:
            return {RECORD_UP: 1.0, **seldom.answer()}
        except Exception as error:
            # Whatever it is, all else can be told.
            logger.warning("The gauges of the record are missing: %r", error)
            return {RECORD_UP: 0.0}

    AtScrape(registry, read)


def show_connections(
    registry: CollectorRegistry, count: Callable[[], tuple[int, int, int]]
) -> None:
    """Show how many connections to the database are in use, are idle, and may be in use."""

    def read() -> Reading:
        in_use, idle, most = count()
        return {
            DATABASE_CONNECTIONS: {"in_use": in_use, "idle": idle},
            DATABASE_CONNECTIONS_MAX: most,
        }

    AtScrape(registry, read)
