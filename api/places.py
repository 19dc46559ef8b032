"""How many requests there may be at once, and how the others are refused.

Every request but `/livez`, `/readyz` and `/metrics` passes the gate. The gate lets fewer requests
through than there are threads, so some threads are always free for those three and for refusals. A
request that waits for a trip to end holds a place of another kind, too. Where there are several
callers, no caller may take all places of a kind.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from flask import Blueprint, g, request

from api.problems import Problem, retry_later
from bookings import Bookings

OTHER_REQUESTS = 128
"""Requests that the gate lets through besides those that wait for a trip, such as look-ups."""
SPARE_THREADS = 24
"""Threads that are free while the gate is full."""
SCRAPES_AT_ONCE = 4
"""How many of these threads may be busy with `/metrics`."""
PROBES_AT_ONCE = 16
"""How many of them may wait for the answer of `/readyz`, which needs no key."""
BUSY = "The service is busy; try again."
PAST_THE_GATE = ("api.livez", "api.readyz", "api.metrics")


def threads_for(max_open_bookings: int) -> int:
    """Return how many threads the server needs for the gate to leave some free."""
    return max_open_bookings + OTHER_REQUESTS + SPARE_THREADS


def install_gate(routes: Blueprint, gate: "Places") -> None:
    """Refuse at once what the service's threads cannot take, or what one caller may not.

    Install it after the hooks that know the caller. All requests without a caller count as one.
    """

    @routes.before_app_request
    def enter() -> None:
        if request.endpoint in PAST_THE_GATE:
            return
        known = g.get("caller")
        holder = known.name if known else ""
        if not gate.take(holder):
            raise gate.refusal(holder) if known else retry_later(503, BUSY)
        g.inside_for = holder

    @routes.teardown_app_request
    def leave(_: BaseException | None) -> None:
        holder = g.pop("inside_for", None)
        if holder is not None:
            gate.give_back(holder)


def client_gone() -> Callable[[], bool] | None:
    """Return what tells whether the client of the current request has gone, if the server can."""
    gone: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return gone


class Places:
    """A number of places for requests that may take a while.

    A request holds a place in its caller's name. A caller may hold `share` of the places.
    """

    def __init__(self, count: int, share: int) -> None:
        self.count = count
        self.share = share
        self._held: Counter[str] = Counter()
        self._changing = threading.Lock()

    @property
    def in_use(self) -> int:
        """How many places are held."""
        return self._held.total()

    def held_by(self, holder: str) -> int:
        """Return how many of them a caller holds."""
        return self._held[holder]

    def take(self, holder: str) -> bool:
        """Take a place if one is free for the caller, and tell whether."""
        with self._changing:
            free = self._held.total() < self.count and self._held[holder] < self.share
            self._held[holder] += free
            return free

    def give_back(self, holder: str) -> None:
        """Give a place back that was taken."""
        with self._changing:
            self._held[holder] -= 1

    def refusal(self, holder: str, status: int = 503, detail: str = BUSY) -> Problem:
        """Return the problem of a caller without a place: `status`, or 429 if it has its share."""
        if self.held_by(holder) < self.share or self.share == self.count:
            return retry_later(status, detail)
        return retry_later(429, "You have too many requests under way here; try again.")

    @contextmanager
    def place_if_free(self, holder: str) -> Iterator[bool]:
        """Hold a place if one is free for the caller, and tell whether."""
        held = self.take(holder)
        try:
            yield held
        finally:
            if held:
                self.give_back(holder)

    @contextmanager
    def place(self, holder: str, status: int = 503, detail: str = BUSY) -> Iterator[None]:
        """Hold a place. Raises the `refusal` if none is free for the caller."""
        with self.place_if_free(holder) as held:
            if not held:
                raise self.refusal(holder, status, detail)
            yield

    def place_to_wait(self, holder: str, seconds: float) -> AbstractContextManager[None]:
        """Hold a place, unless `seconds` is 0. Raises `Problem`, 429, if none is free."""
        if not seconds:
            return nullcontext()
        return self.place(holder, 429, "Too many bookings are under way here; try again.")


class AllPlaces(NamedTuple):
    """All places of an API process, by what they are for."""

    request: Places
    """What the gate lets through."""
    wait: Places
    """Requests that wait for a trip."""


def places_now(
    places: AllPlaces, bookings: Bookings, callers: Collection[str]
) -> dict[str, dict[str, int]]:
    """Return how many places there are and are in use, and how often each caller waits for trips.

    The first two go by what the places are for, the last one by the names of `callers`.
    """
    each, waits = places._asdict().items(), bookings.waits
    count = {name: kept.count for name, kept in each}
    in_use = {name: kept.in_use for name, kept in each}
    return {
        "places": count | {"long_poll": waits.max_long_polls},
        "places_in_use": in_use | {"long_poll": waits.long_polls},
        "requests_waiting": {name: places.wait.held_by(name) for name in callers},
    }


def places_for(
    max_open_bookings: int, callers: Collection[str], per_caller: int | None = None
) -> AllPlaces:
    """Return the places of a process in which at most `max_open_bookings` requests wait for a trip.

    Of several callers each may hold half of the places, so that one leaves as much to the others
    as it takes. `per_caller` says otherwise of those that wait.
    """
    waits, others = max_open_bookings, OTHER_REQUESTS
    if per_caller or len(callers) > 1:
        waits, others = per_caller or max(1, waits // 2), others // 2
    return AllPlaces(
        # A caller that waits as often as it may can still look its trips up and cancel them.
        request=Places(max_open_bookings + OTHER_REQUESTS, waits + others),
        wait=Places(max_open_bookings, waits),
    )
