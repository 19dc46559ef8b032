"""How many requests there may be at once, and what becomes of the others.

Every request but `/livez` passes the gate, which lets fewer through than there are threads: one is
free for `/livez`, and to refuse, whatever all others wait for. Of those inside, the ones that wait
for a trip to end hold a place each.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Blueprint, g, request

from api.problems import retry_later

OTHER_REQUESTS = 128
"""Requests that the gate lets through besides those that wait for a trip: look-ups, say."""
SPARE_THREADS = 8
"""Threads that are left when the gate lets no more through."""
PAST_THE_GATE = "api.livez"


def threads_for(max_open_bookings: int) -> int:
    """Return how many threads the server needs for the gate to leave some free."""
    return max_open_bookings + OTHER_REQUESTS + SPARE_THREADS


def install_gate(routes: Blueprint, max_open_bookings: int) -> None:
    """Answer 503 at once to what is more than the service's threads can take."""
    gate = threading.BoundedSemaphore(max_open_bookings + OTHER_REQUESTS)

    @routes.before_app_request
    def enter() -> None:
        if request.endpoint == PAST_THE_GATE:
            return
        if not gate.acquire(blocking=False):
            raise retry_later(503, "The service is busy; try again.")
        g.inside = True

    @routes.teardown_app_request
    def leave(_: BaseException | None) -> None:
        if g.pop("inside", False):
            gate.release()


def client_gone() -> Callable[[], bool] | None:
    """Return what tells whether the client of the current request has gone, if the server can."""
    gone: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return gone


class Places:
    """The places for requests that may take a while, for the end of a trip, say."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def place_if_free(self) -> Iterator[bool]:
        """Hold a place if one is free, and tell whether."""
        held = self._free.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                self._free.release()

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
