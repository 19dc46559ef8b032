"""Gauges that are read at each scrape. Reading them never holds up a request or a scrape."""

import asyncio
import concurrent.futures
import datetime as dt
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared import TripStatus
from telemetry.metrics import (
    AUDIT_DIFFERENCES,
    AUDIT_LAST_SUCCESS,
    DATABASE_CONNECTIONS,
    DATABASE_CONNECTIONS_MAX,
    OUTCOME_UNKNOWN_AGE,
    OUTCOMES_UNKNOWN,
    PLACES,
    PLACES_IN_USE,
    RECORD_UP,
    REQUESTS_WAITING,
    TRIPS_OPEN,
    TRIPS_PAST_DEADLINE,
    UNDO_STUCK_AGE,
    UNDOS_STUCK,
    Gauge,
)

logger = logging.getLogger(__name__)

Reading = Mapping[Gauge, float | Mapping[str, float]]
"""The value of each gauge, or its values by those of its label."""

CountConnections = Callable[[], tuple[int, int, int]]
"""Tells how many connections are in use, are idle, and may be in use."""

PlacesNow = Callable[[], tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]]
"""Tells by name how many places there are and how many are in use; and by caller how many requests
wait for a trip."""

QUESTION_INTERVAL = 5.0
"""Seconds for which an answer of the record is used for further scrapes."""

QUESTION_LIMIT = 2.0
"""Seconds that a scrape waits for the answer. Prometheus gives up a scrape after ten."""


class _Waiting(Protocol):
    @property
    def count(self) -> int: ...
    def age(self) -> float: ...


class _Promises(Protocol):
    """How the promises stand, as the record tells it."""

    @property
    def open_trips(self) -> Mapping[TripStatus, int]: ...
    @property
    def past_deadline(self) -> int: ...
    @property
    def stuck_undos(self) -> _Waiting: ...
    @property
    def unknown_outcomes(self) -> _Waiting: ...


class _Audit(Protocol):
    """How an audit ended, as the record tells it."""

    @property
    def ended_at(self) -> dt.datetime | None: ...
    @property
    def differences(self) -> Mapping[str, int] | None: ...


class AtScrape(Collector):
    """Calls `read` at each scrape and shows what it returns."""

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


class _Seldom:
    """Asks one question at a time and not too often, however many scrapes want the answer.

    It has a thread of its own, and an event loop of its own for each question, so that it takes
    nothing that a request needs.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Reading]]) -> None:
        self._ask = ask
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="gauges")
        self._lock = threading.Lock()
        self._asked: concurrent.futures.Future[Reading] | None = None
        self._asked_at = 0.0

    def answer(self) -> Reading:
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


def show_promises(
    registry: CollectorRegistry,
    promises: Callable[[], Awaitable[_Promises]],
    last_audit: Callable[[], Awaitable[_Audit | None]],
) -> None:
    """Show how the promises stand as the record tells it, or that it cannot be read."""

    async def ask() -> Reading:
        now = await promises()
        audit = await last_audit()
        told: dict[Gauge, float | Mapping[str, float]] = {
            TRIPS_OPEN: {str(status): count for status, count in now.open_trips.items()},
            TRIPS_PAST_DEADLINE: now.past_deadline,
            UNDOS_STUCK: now.stuck_undos.count,
            UNDO_STUCK_AGE: now.stuck_undos.age(),
            OUTCOMES_UNKNOWN: now.unknown_outcomes.count,
            OUTCOME_UNKNOWN_AGE: now.unknown_outcomes.age(),
        }
        if audit is not None and audit.ended_at is not None:
            told[AUDIT_LAST_SUCCESS] = audit.ended_at.timestamp()
            told[AUDIT_DIFFERENCES] = audit.differences or {}
        return told

    seldom = _Seldom(ask)

    def read() -> Reading:
        try:
            return {RECORD_UP: 1.0, **seldom.answer()}
        except Exception as error:
            # Whatever the error is, the other gauges can be shown.
            logger.warning("The gauges of the record are missing: %r", error)
            return {RECORD_UP: 0.0}

    AtScrape(registry, read)


def show_places(registry: CollectorRegistry, look: PlacesNow) -> None:
    """Show how many places for requests there are, and which callers hold them."""

    def read() -> Reading:
        count, in_use, waiting = look()
        return {PLACES: count, PLACES_IN_USE: in_use, REQUESTS_WAITING: waiting}

    AtScrape(registry, read)


def show_connections(registry: CollectorRegistry, count: CountConnections) -> None:
    """Show how many connections to the database there are."""

    def read() -> Reading:
        in_use, idle, most = count()
        return {
            DATABASE_CONNECTIONS: {"in_use": in_use, "idle": idle},
            DATABASE_CONNECTIONS_MAX: most,
        }

    AtScrape(registry, read)
