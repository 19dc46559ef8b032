"""One caller that takes all it may: the others go on booking, looking up, cancelling, listing."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from api.places import LOOKS_AT_ONCE, OTHER_REQUESTS, AllPlaces, places_for, share_of
from tests.api.stand_in import StandIn, over
from tests.api.test_access import KEYS, NEW, OLD, bearer
from tests.api.test_crowds import RESPOND_ASYNC, TRIP
from tests.processes import Answer, Service, service, wait_until


def test_the_one_caller_there_is_may_have_all_places() -> None:
    assert share_of(10, {"shop"}) is None
    for places in places_for(10):
        assert all(places.take("anonymous") for _ in range(places.count))
        assert not places.take("anonymous")


def test_of_several_callers_none_may_have_more_than_half() -> None:
    assert share_of(10, {"shop", "desk"}) == 5
    assert share_of(1, {"shop", "desk"}) == 1


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 10),
        ({"api_keys": f"shop:{OLD},shop:{NEW}"}, 10),  # Two keys of one caller.
        ({"api_keys": KEYS}, 5),
        ({"api_keys": KEYS, "max_open_bookings_per_caller": 2}, 2),
    ],
)
def test_the_settings_say_who_the_callers_are_and_perhaps_their_share(
    bookings: StandIn, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], share: int
) -> None:
    made: list[AllPlaces] = []

    def note(*arguments: Any) -> AllPlaces:
        made.append(places_for(*arguments))
        return made[0]

    monkeypatch.setattr("api.places_for", note)
    over(bookings, max_open_bookings=10, **settings)
    assert made[0].wait.share == share


def test_what_one_caller_leaves_another_gets_and_what_is_given_back_is_free() -> None:
    for places in places_for(10, 4):
        taken = 0
        while places.take("greedy"):
            taken += 1
        assert taken == places.share < places.count
        assert places.take("other")
        assert places.in_use == taken + 1
        places.give_back("greedy")
        assert places.take("greedy")


def test_who_waits_as_often_as_it_may_can_still_look_up_and_cancel() -> None:
    places = places_for(10, 10)
    assert places.request.share - places.wait.share == OTHER_REQUESTS // 2
    assert places.look.share == LOOKS_AT_ONCE // 2


# Through the real processes


NONE: Mapping[str, str] = {}
KEY = {"greedy": "0123456789-greedy", "other": "0123456789-others"}


def asked(
    service: Service,
    method: str,
    path: str,
    who: str = "other",
    headers: Mapping[str, str] = NONE,
) -> Answer:
    body = json.loads(TRIP) if path == "/book" else None
    return service.request(method, path, body, bearer(KEY[who]) | dict(headers))


@contextmanager
def greedy_for(service: Service, *paths: str) -> Iterator[Counter[int]]:
    """A caller that asks for each path again and again; yields what it was answered."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask_on(path: str) -> None:
        while not over.is_set():
            status = asked(service, "POST" if path == "/book" else "GET", path, "greedy").status
            statuses[status] += 1
            over.wait(0.1 if status >= 400 else 0)

    with ThreadPoolExecutor(len(paths)) as threads:
        for path in paths:
            threads.submit(ask_on, path)
        try:
            yield statuses
        finally:
            over.set()


@pytest.mark.slow
def test_another_caller_books_looks_up_cancels_and_lists_all_the_same() -> None:
    keys = ",".join(f"{name}:{secret}" for name, secret in KEY.items())
    with service(MAX_OPEN_BOOKINGS=20, BOOK_WAIT_SECONDS=2, API_KEYS=keys) as started:
        started.start_without_worker()
        path = asked(started, "POST", "/book", "greedy", RESPOND_ASYNC).body["location"]
        page = path.replace("/bookings/", "/trips/") + "/now"
        many = ["/book", f"{path}?wait=2"] * 15 + [path] * OTHER_REQUESTS + [page] * LOOKS_AT_ONCE
        with greedy_for(started, *many) as statuses:
            wait_until(lambda: statuses[429] > len(many), "the greedy one is refused")
            assert asked(started, "POST", "/book").status == 202, "It has waited"
            place = asked(started, "POST", "/book", "other", RESPOND_ASYNC).body["location"]
            assert asked(started, "GET", "/bookings").status == 200
            assert asked(started, "GET", f"{place}?wait=1").status == 200
            assert asked(started, "POST", f"{place}/cancel").status in (200, 202)
        assert not {500, 503} & statuses.keys(), "It is told that the fault is its own"
