"""The places for requests: which requests need one, what the others are told, who gets how many."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.places import OTHER_REQUESTS, places_for
from tests.api.api_client import JOHN, Api, assert_problem, body_of
from tests.api.stand_in import StandIn, over, until_waiting
from tests.api.test_access import KEYS, OLD, OTHER, bearer


@pytest.fixture
async def full(bookings: StandIn) -> AsyncIterator[Api]:
    """The API with both of its places taken by bookings that go on."""
    bookings.becomes = "running"
    api = over(bookings, max_open_bookings=2)
    waiting = [asyncio.create_task(api.book(JOHN)) for _ in range(2)]
    await until_waiting(bookings, len(waiting))
    yield api
    bookings.end_waits()
    for answer in await asyncio.gather(*waiting):
        assert answer.status_code == 202
    assert (await api.book(JOHN)).status_code == 202, "The places were given back"


async def test_beyond_its_bound_only_what_waits_is_refused(full: Api) -> None:
    refused = await full.book(JOHN)
    assert_problem(refused, 429)
    assert int(refused.headers["Retry-After"]) > 0
    started = await full.book(JOHN, Prefer="respond-async")
    assert started.status_code == 202
    path = started.headers["Location"]
    assert body_of(await full.get(path))["status"] == "running"
    assert_problem(await full.get(f"{path}?wait=10"), 429)
    async with asyncio.timeout(20):
        cancelled = await full.call("POST", f"{path}/cancel")  # It is begun, no more.
    assert (cancelled.status_code, cancelled.headers["Location"]) == (202, path)


# Several callers


def test_the_one_caller_there_is_may_have_all_places() -> None:
    for places in places_for(10, {"shop"}):
        assert all(places.take("shop") for _ in range(places.count))
        assert not places.take("shop")


@pytest.mark.parametrize(
    ("callers", "per_caller", "count", "share"),
    [(1, None, 10, 10), (2, None, 10, 5), (2, None, 1, 1), (2, 2, 10, 2), (1, 2, 10, 2)],
)
def test_several_callers_have_half_each_unless_the_settings_say_otherwise(
    callers: int, per_caller: int | None, count: int, share: int
) -> None:
    assert places_for(count, [str(n) for n in range(callers)], per_caller).wait.share == share


def test_what_one_caller_leaves_another_gets_and_what_is_given_back_is_free() -> None:
    for places in places_for(10, {"greedy"}, 4):
        taken = 0
        while places.take("greedy"):
            taken += 1
        assert taken == places.share < places.count
        assert places.take("other")
        assert places.in_use == taken + 1
        places.give_back("greedy")
        assert places.take("greedy")
    # A caller that waits as often as it may can still look its trips up.
    both = places_for(10, {"shop"}, 10)
    assert both.request.share - both.wait.share == OTHER_REQUESTS // 2


@pytest.mark.parametrize(("count", "per_caller"), [(4, None), (10, 2)])
async def test_another_caller_books_looks_up_cancels_and_lists_all_the_same(
    bookings: StandIn, count: int, per_caller: int | None
) -> None:
    bookings.becomes = "running"
    limits = {"max_open_bookings": count, "max_open_bookings_per_caller": per_caller}
    api = over(bookings, api_keys=KEYS, **limits)
    greedy, other = bearer(OLD), bearer(OTHER)

    waiting = [asyncio.create_task(api.book(JOHN, **greedy)) for _ in range(2)]
    await until_waiting(bookings, 2)
    refused = await api.book(JOHN, **greedy)
    assert_problem(refused, 429)
    assert "You have too many requests under way" in refused.text, "The fault is its own"

    waiting.append(asyncio.create_task(api.book(JOHN, **other)))
    await until_waiting(bookings, 3)
    place = (await api.book(JOHN, Prefer="respond-async", **other)).headers["Location"]
    assert (await api.get("/bookings", headers=other)).status_code == 200
    assert (await api.get(f"{place}?wait=0.01", headers=other)).status_code == 200
    waiting.append(asyncio.create_task(api.call("POST", f"{place}/cancel", headers=other)))
    await until_waiting(bookings, 4)
    bookings.end_waits()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {202}
