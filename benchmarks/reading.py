"""Reading the record over HTTP when it is long: how long a look-up takes, and a page of the list.

The trips are written straight into the database, as if they had been booked over the years.
"""

import datetime as dt
import http.client
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import sqlalchemy as sa

from benchmarks.stacks import Stack
from record.tables import reservations, trips
from shared import KINDS

SHOP, DESK = "shop", "desk"
SECRETS = {SHOP: "a-benchmarks-secret", DESK: "an-operators-secret"}
KEYS = {"API_KEYS": f"{SHOP}:{SECRETS[SHOP]},{DESK}:{SECRETS[DESK]}:operator"}
"""The shop sees its own trips, a tenth of all; the operator at the desk sees everybody's."""

BATCH = 5_000
BEGAN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
STATUSES = ("booked",) * 8 + ("rolled_back", "cancelled")
ITEMS = {str(kind): f"valid-{kind}-id" for kind in KINDS}

ROLLED_BACK = {"status": "rolled_back"}

LISTS: dict[str, tuple[str, dict[str, str], float]] = {
    "all": (DESK, {}, 1.0),
    "by owner": (SHOP, {}, 0.1),
    "by status": (DESK, ROLLED_BACK, 0.1),
    "by owner and status": (SHOP, ROLLED_BACK, 0.01),
}
"""Who asks for a list, for which part of it, and which share of all trips that is."""

PAGE = 20
LARGEST_PAGE = 100
MOST_HOPS = 500
"""So many of the largest pages are before a page deep inside, or half of the list is."""

Read = Callable[[], object]


def fill_record(stack: Stack, size: int) -> None:
    """Write so many trips that are over into the empty record of a stack."""
    engine = sa.create_engine(stack.database_url)
    for begin in range(0, size, BATCH):
        numbers = range(begin, min(begin + BATCH, size))
        held = [row for number in numbers for row in _reservations(number)]
        with engine.begin() as connection:
            connection.execute(trips.insert(), [_trip(number) for number in numbers])
            connection.execute(reservations.insert(), held)
    if stack.postgres:
        # It does so by itself, a minute later.
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()


@contextmanager
def without_temporal(stack: Stack) -> Iterator[None]:
    """Freeze the stack's Temporal: what asks it anything is not answered in time."""
    stack.temporal.freeze()
    try:
        yield
    finally:
        stack.temporal.thaw()


@contextmanager
def questions(stack: Stack, size: int) -> Iterator[dict[str, Read]]:
    """Yield, by its name, each way to ask the stack's API for what its record has."""
    address = urlsplit(stack.api_urls[0]).netloc
    with closing(http.client.HTTPConnection(address, timeout=30)) as line:
        ids = itertools.cycle(f"trip-{number * 7919 % size}" for number in range(size))
        asked: dict[str, Read] = {"look-up": lambda: _get(line, DESK, f"/bookings/{next(ids)}")}
        for name, (who, filters, share) in LISTS.items():
            asked[f"{name}, first page"] = _page(line, who, filters)
            cursor = _cursor_inside(line, who, filters, int(size * share))
            asked[f"{name}, deep inside"] = _page(line, who, filters | {"cursor": cursor})
        yield asked


GUESSES = {
    "look-up": ("GET", "/bookings/{}"),
    "page": ("GET", "/trips/{}"),
    "news of the page": ("GET", "/now/trips/{}"),
    "cancellation": ("POST", "/bookings/{}/cancel"),
    "cancellation on the page": ("POST", "/trips/{}/cancel"),
}
"""What a caller may ask of an id that it has guessed. Each is answered with 404."""


@contextmanager
def guesses(stack: Stack, size: int) -> Iterator[dict[str, tuple[Read, Read]]]:
    """Yield, by its name, each way to guess an id: one that is nobody's, and one of another."""
    address = urlsplit(stack.api_urls[0]).netloc
    others = [number for number in range(size) if _trip(number)["owner"] != SHOP]
    with closing(http.client.HTTPConnection(address, timeout=30)) as line:

        def guess(method: str, path: str, name: str) -> Read:
            ids = itertools.cycle(f"{name}-{number}" for number in others)
            return lambda: _ask(line, SHOP, method, path.format(next(ids)), 404)

        yield {
            way: (guess(*asked, "trap"), guess(*asked, "trip")) for way, asked in GUESSES.items()
        }


def paired_ms(reads: tuple[Read, Read], times: int) -> tuple[float, float]:
    """Return the medians of what asking so often takes, in ms; the two take turns each time."""
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(times):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            began = time.perf_counter()
            reads[which]()
            took[which].append(1_000 * (time.perf_counter() - began))
    return statistics.median(took[0]), statistics.median(took[1])


def median_ms(read: Read, times: int) -> float:
    """Return the median of what asking so often takes, in ms."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        read()
        took.append(1_000 * (time.perf_counter() - began))
    return statistics.median(took)


def _page(line: http.client.HTTPConnection, who: str, query: dict[str, str]) -> Read:
    path = f"/bookings?{urlencode({'limit': PAGE, **query})}"

    def read() -> None:
        shown = len(_get(line, who, path)["bookings"])
        if shown != PAGE:
            raise RuntimeError(f"{path} shows {shown} bookings")

    return read


def _cursor_inside(
    line: http.client.HTTPConnection, who: str, filters: dict[str, str], length: int
) -> str:
    """Return the cursor of a page deep inside a list of that length, which pages lead to."""
    limit = min(LARGEST_PAGE, length // 4)
    query = {"limit": str(limit), **filters}
    for _ in range(min(MOST_HOPS, length // 2 // limit)):
        query["cursor"] = _get(line, who, f"/bookings?{urlencode(query)}")["next_cursor"]
    return query["cursor"]


def _get(line: http.client.HTTPConnection, who: str, path: str) -> Any:
    return json.loads(_ask(line, who, "GET", path, 200))


def _ask(line: http.client.HTTPConnection, who: str, method: str, path: str, status: int) -> bytes:
    line.request(method, path, headers={"Authorization": f"Bearer {SECRETS[who]}"})
    answer = line.getresponse()
    body = answer.read()
    if answer.status != status:
        raise RuntimeError(f"{path} was answered {answer.status}: {body[:200]!r}")
    return body


def _trip(number: int) -> dict[str, Any]:
    status = STATUSES[number % 10]
    held = status == "booked"
    at = BEGAN + dt.timedelta(minutes=number)
    return {
        "trip_id": f"trip-{number}",
        # Of each hundred trips in a row ten are the shop's, whatever their status.
        "owner": SHOP if number // 10 % 10 == 0 else f"shop-{number // 10 % 10}",
        "key_fingerprint": None,
        "request": {"name": f"Traveller {number}", "attempts": 5, **ITEMS},
        "status": status,
        "reason": None if held else "Invalid hotel booking, rolling back!",
        "workflow_id": f"trip-{number}",
        "first_run_id": f"run-{number}",
        "accepted_at": at,
        "booked_at": None if status == "rolled_back" else at,
        "told_at": at,
        "closed_at": at,
    }


def _reservations(number: int) -> list[dict[str, Any]]:
    held = STATUSES[number % 10] == "booked"
    at = BEGAN + dt.timedelta(minutes=number)
    return [
        {
            "trip_id": f"trip-{number}",
            "kind": kind,
            "item": item,
            "state": "reserved" if held else "cancelled",
            "first_run_id": f"run-{number}",
            "created_at": at,
            "updated_at": at,
            "booking_seconds": 0.02,
            "undo_seconds": None if held else 0.02,
        }
        for kind, item in ITEMS.items()
    ]
