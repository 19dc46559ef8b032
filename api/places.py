"""How many requests there may be at once, and what becomes of the others.

Every request but `/livez` and `/metrics` passes the gate, which lets fewer through than there are
threads: some are free for those, and to refuse, whatever all others wait for. Of those inside, the
ones that wait for a trip to end hold a place each.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from flask import Blueprint, g, request

from api.problems import retry_later

OTHER_REQUESTS = 128
"""Requests that the gate lets through besides those that wait for a trip: look-ups, say."""
SPARE_THREADS = 8
"""Threads that are left when the gate lets no more through."""
SCRAPES_AT_ONCE = 4
"""How many of them may be busy with `/metrics`."""
LOOKS_AT_ONCE = 64
"""How many requests of open pages are looked after at once; the others ask again a moment later.
So the pages take no place that bookings need, however many there are and whatever hangs."""
PAST_THE_GATE = ("api.livez", "api.metrics")


def threads_for(max_open_bookings: int) -> int:
    """Return how many threads the server needs for the gate to leave some free."""
    return max_open_bookings + OTHER_REQUESTS + SPARE_THREADS


def install_gate(routes: Blueprint, gate: "Places") -> None:
    """Answer 503 at once to what is more than the service's threads can take."""

    @routes.before_app_request
    def enter() -> None:
        if request.endpoint in PAST_THE_GATE:
            return
        if not gate.take():
            raise retry_later(503, "The service is busy; try again.")
        g.inside = True

    @routes.teardown_app_request
    def leave(_: BaseException | None) -> None:
        if g.pop("inside", False):
            gate.give_back()


def client_gone() -> Callable[[], bool] | None:
    """Return what tells whether the client of the current request has gone, if the server can."""
    gone: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return gone


class Places:
    """So many places, for requests that may take a while, for the end of a trip, say."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.in_use = 0
        self._changing = threading.Lock()

    def take(self) -> bool:
        """Take a place if one is free, and tell whether."""
        with self._changing:
            free = self.in_use < self.count
            self.in_use += free
            return free

    def give_back(self) -> None:
        """Give a place back that was taken."""
        with self._changing:
            self.in_use -= 1

    @contextmanager
    def place_if_free(self) -> Iterator[bool]:
        """Hold a place if one is free, and tell whether."""
        held = self.take()
        try:
            yield held
        finally:
            if held:
                self.give_back()

    @contextmanager
    def place_to_look(self) -> Iterator[None]:
        """Hold a place. Raises `Problem`, 503, if none is free."""
        with self.place_if_free() as held:
            if not held:
                raise retry_later(503, "The service is busy; try again.")
            yield

    @contextmanager
    def place_to_wait(self, seconds: float) -> Iterator[None]:
        """Hold a place, unless there is nothing to wait for.

        Raises `Problem`, 429, if none is free.
        """
        if not seconds:
            yield
            return
        with self.place_if_free() as held:
            if not held:
                raise retry_later(429, "Too many bookings are under way here; try again.")
            yield


class AllPlaces(NamedTuple):
    """All places of an API process, by what they are for."""

    request: Places
    """What the gate lets through."""
    wait: Places
    """Requests that wait for a trip."""
    look: Places
    """Looks of open pages."""


def places_for(max_open_bookings: int) -> AllPlaces:
    """Return the places of a process in which so many requests may wait for a trip."""
    return AllPlaces(
        request=Places(max_open_bookings + OTHER_REQUESTS),
        wait=Places(max_open_bookings),
        look=Places(LOOKS_AT_ONCE),
    )
