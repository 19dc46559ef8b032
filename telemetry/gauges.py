"""Gauges that are read at each scrape. Reading them never holds up a request or a scrape."""

import asyncio
import logging
import math
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
"""What each gauge means. Prometheus knows it as `booking_…`."""

LABELS = {
    "places": "place",
    "places_in_use": "place",
    "requests_waiting": "caller",
    "database_connections": "state",
    "trips_open": "status",
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


def show_promises(
    registry: CollectorRegistry, promises: Callable[[], Coroutine[Any, Any, Mapping[str, Values]]]
) -> None:
    """Show how the promises stand as the record tells it, or that it cannot be read.

    One scrape at a time asks, and not too often. It has an event loop of its own, so that it takes
    nothing that a request needs.
    """
    asking = threading.Lock()
    asked_at = -math.inf
    told: Mapping[str, Values] = {}

    def read() -> Mapping[str, Values]:
        nonlocal asked_at, told
        with asking:
            if time.monotonic() >= asked_at + QUESTION_INTERVAL:
                told = asyncio.run(_told_by(promises))
                asked_at = time.monotonic()
            return told

    registry.register(_AtScrape(read))


async def _told_by(
    promises: Callable[[], Coroutine[Any, Any, Mapping[str, Values]]],
) -> Mapping[str, Values]:
    try:
        async with asyncio.timeout(QUESTION_LIMIT):
            return {"record_up": 1, **await promises()}
    except Exception as error:
        # Whatever the error is, the other gauges can be shown.
        logger.warning("The gauges of the record are missing: %r", error)
        return {"record_up": 0}


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
