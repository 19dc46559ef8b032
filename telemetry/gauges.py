"""Gauges that are read at each scrape. Reading them never holds up a request or a scrape."""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

Gauges = Iterable[GaugeMetricFamily]

Values = float | Mapping[str, float]
"""The value of a gauge, or its values by that of its label."""

CountConnections = Callable[[], tuple[int, int, int]]
"""Tells how many connections are in use, are idle, and may be in use."""

PlacesNow = Callable[[], tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]]
"""Tells by name how many places there are and how many are in use; and by caller how many requests
wait for a trip."""

QUESTION_INTERVAL = 5.0
"""Seconds for which an answer of the record is used for further scrapes."""

QUESTION_LIMIT = 2.0
"""Seconds that a scrape waits for the answer. Prometheus gives up a scrape after ten."""


PROMISES = {
    "trips_open": "Trips that are running or need attention, as the record has them.",
    "trips_past_deadline": "Trips that are still running after TRIP_DEADLINE_SECONDS.",
    "undos_stuck": "Undos that wait for an operator.",
    "undo_stuck_oldest_age_seconds": "How long the oldest of them has waited; 0 if none waits.",
    "outcomes_unknown": "Bookings of which nobody knows whether their supplier holds them.",
    "outcome_unknown_oldest_age_seconds": "How long this has been so for the oldest of them; 0 if "
    "there is no such booking.",
    "audit_last_success_timestamp_seconds": "When an audit was last carried out to its end.",
    "audit_differences": "Trips in which that audit found a difference.",
}
"""The meaning of each number that the record tells. Its gauge is named `booking_…`."""

LABELS = {"trips_open": "status", "audit_differences": "difference"}
"""The labels of those that are told apart by something."""


class _AtScrape(Collector):
    """Calls `read` at each scrape and shows what it returns."""

    def __init__(self, read: Callable[[], Gauges]) -> None:
        self._read = read

    def collect(self) -> Gauges:
        """Return the gauges that can be read."""
        return self._read()


def _gauge(name: str, meaning: str, values: Values, label: str = "") -> GaugeMetricFamily:
    if not isinstance(values, Mapping):
        return GaugeMetricFamily(name, meaning, values)
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


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

    def read() -> Gauges:
        name, meaning = "booking_record_up", "Whether the record could be read: 1, or 0."
        try:
            return [
                _gauge(name, meaning, 1),
                *(
                    _gauge(f"booking_{each}", PROMISES[each], values, LABELS.get(each, ""))
                    for each, values in seldom.answer().items()
                ),
            ]
        except Exception as error:
            # Whatever the error is, the other gauges can be shown.
            logger.warning("The gauges of the record are missing: %r", error)
            return [_gauge(name, meaning, 0)]

    registry.register(_AtScrape(read))


def show_places(registry: CollectorRegistry, look: PlacesNow) -> None:
    """Show how many places for requests there are, and which callers hold them."""

    def read() -> Gauges:
        count, in_use, waiting = look()
        return [
            _gauge("booking_places", "How many requests there may be at once.", count, "place"),
            _gauge("booking_places_in_use", "How many requests there are now.", in_use, "place"),
            _gauge("booking_requests_waiting", "Requests that wait for a trip.", waiting, "caller"),
        ]

    registry.register(_AtScrape(read))


def show_connections(registry: CollectorRegistry, count: CountConnections) -> None:
    """Show how many connections to the database there are."""

    def read() -> Gauges:
        in_use, idle, most = count()
        name, meaning = "booking_database_connections", "Connections to the record's database."
        return [
            _gauge(name, meaning, {"in_use": in_use, "idle": idle}, "state"),
            _gauge(f"{name}_max", "How many of them may be in use at once.", most),
        ]

    registry.register(_AtScrape(read))
