"""Gauges that are read at each scrape. Reading them never holds up a request or a scrape."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

Values = float | Mapping[str, float]
"""The value of a gauge, or its values by that of its label."""

ReadGauges = Callable[[], Mapping[str, Values]]
"""Returns the values of gauges, by their names in `GAUGES`."""

CountConnections = Callable[[], tuple[int, int, int]]
"""Tells how many connections are in use, are idle, and may be in use."""

QUESTION_INTERVAL = 5.0
"""Seconds for which an answer of the record is used for further scrapes."""

QUESTION_LIMIT = 2.0
"""Seconds that a scrape waits for the answer. Prometheus gives up a scrape after ten."""

GAUGES = {
    "places": "How many requests there may be at once.",
    "places_in_use": "How many requests there are now.",
    "requests_waiting": "Requests that wait for a trip.",
    "database_connections": "Connections to the record's database.",
    "database_connections_max": "How many of them may be in use at once.",
    "record_up": "Whether the record could be read: 1, or 0.",
    "trips_open": "Trips that are running, held or need attention, as the record has them.",
    "trips_past_deadline": "Trips that are still running after TRIP_DEADLINE_SECONDS.",
    "undos_stuck": "Undos that wait for an operator.",
    "undo_stuck_oldest_age_seconds": "How long the oldest of them has waited; 0 if none waits.",
    "outcomes_unknown": "Bookings of which nobody knows whether their supplier holds them.",
    "outcome_unknown_oldest_age_seconds": "How long this has been so for the oldest of them; 0 if "
    "there is no such booking.",
    "events_undelivered": "Events that a webhook has yet to deliver, or has given up.",
    "event_undelivered_oldest_age_seconds": "How long the oldest of those has waited that are not "
    "given up; 0 if none waits.",
    "audit_last_success_timestamp_seconds": "When an audit was last carried out to its end.",
    "audit_differences": "Trips in which that audit found a difference.",
}
"""What each gauge means. Prometheus knows it as `booking_…`."""

LABELS = {
    "places": "place",
    "places_in_use": "place",
    "requests_waiting": "caller",
    "database_connections": "state",
    "trips_open": "status",
    "events_undelivered": "delivery",
    "audit_differences": "difference",
}
"""The labels of the gauges that have several values."""


class _AtScrape(Collector):
    """Shows at each scrape what `read` returns."""

    def __init__(self, read: ReadGauges) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges that can be read."""
        for name, values in self._read().items():
            told, meaning = f"booking_{name}", GAUGES[name]
            if not isinstance(values, Mapping):
                yield GaugeMetricFamily(told, meaning, values)
                continue
            family = GaugeMetricFamily(told, meaning, labels=[LABELS[name]])
            for value, number in values.items():
                family.add_metric([value], number)
            yield family


class _Seldom:
    """Asks one question at a time and not too often, however many scrapes want the answer.

    It has a thread of its own, and an event loop of its own for each question, so that it takes
    nothing that a request needs.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Mapping[str, Values]]]) -> None:
        self._ask = ask
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="gauges")
        self._lock = threading.Lock()
        self._asked: concurrent.futures.Future[Mapping[str, Values]] | None = None
        self._asked_at = 0.0

    def answer(self) -> Mapping[str, Values]:
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
    registry: CollectorRegistry, promises: Callable[[], Coroutine[Any, Any, Mapping[str, Values]]]
) -> None:
    """Show how the promises stand as the record tells it, or that it cannot be read."""
    seldom = _Seldom(promises)

    def read() -> Mapping[str, Values]:
        try:
            return {"record_up": 1, **seldom.answer()}
        except Exception as error:
            # Whatever the error is, the other gauges can be shown.
            logger.warning("The gauges of the record are missing: %r", error)
            return {"record_up": 0}

    registry.register(_AtScrape(read))


def show_places(registry: CollectorRegistry, look: ReadGauges) -> None:
    """Show how many places for requests there are, and which callers hold them."""
    registry.register(_AtScrape(look))


def show_connections(registry: CollectorRegistry, count: CountConnections) -> None:
    """Show how many connections to the database there are."""

    def read() -> Mapping[str, Values]:
        in_use, idle, most = count()
        connections = {"in_use": in_use, "idle": idle}
        return {"database_connections": connections, "database_connections_max": most}

    registry.register(_AtScrape(read))
