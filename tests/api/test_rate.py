"""A caller may book so many new trips in a second, and ask for what it has as often as it likes."""

import pytest

from api import BookingRate
from api.problems import Problem
from tests.api.api_client import JOHN, Api, assert_problem, body_of
from tests.api.stand_in import StandIn, over
from tests.api.test_access import KEYS, NEW, OLD, OTHER, bearer


@pytest.fixture
def api(bookings: StandIn) -> Api:
    """An API that takes one new trip of each caller in an hour."""
    return over(bookings, api_keys=KEYS, bookings_per_second_per_caller=1 / 3_600)


@pytest.mark.parametrize(
    ("per_second", "count", "seconds"),
    [(0.9, 1, 2), (0.4, 1, 3), (0.1, 1, 10), (1 / 49, 1, 49), (1, 1, 1), (7, 7, 1)],
)
def test_what_is_too_much_is_not_counted_and_told_when_it_is_no_more(
    per_second: float, count: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.time", lambda: now)
    rate = BookingRate(per_second)
    for _ in range(2):
        for _ in range(count):
            rate.admit("shop")
        for _ in range(3):
            with pytest.raises(Problem) as problem:
                rate.admit("shop")
        assert problem.value.status == 429
        assert problem.value.headers["Retry-After"] == str(seconds)
        now += seconds - 0.01
        with pytest.raises(Problem):
            rate.admit("shop")
        rate.admit(f"desk-{now}")
        now += 0.02


async def test_a_caller_that_books_too_often_is_refused_and_no_other(
    api: Api, bookings: StandIn
) -> None:
    bookings.becomes = "running"

    async def status_of(key: str) -> int:
        return (await api.book(JOHN, Prefer="respond-async", **bearer(key))).status_code

    # The same caller with its new key; another one.
    assert [await status_of(key) for key in (OLD, OLD, NEW, OTHER)] == [202, 429, 429, 202]
    refused = await api.book(JOHN, **bearer(OLD))
    assert_problem(refused, 429)
    assert 3_590 < int(refused.headers["Retry-After"]) <= 3_600


async def test_who_repeats_a_request_gets_what_it_has_however_often(api: Api) -> None:
    headers = bearer(OLD)
    first = body_of(await api.book(JOHN, Idempotency_Key="before", **headers))
    for _ in range(3):
        assert body_of(await api.book(JOHN, Idempotency_Key="before", **headers)) == first
    assert_problem(await api.book(JOHN | {"car": "x"}, Idempotency_Key="before", **headers), 422)
    assert_problem(await api.book(JOHN, Idempotency_Key="new", **headers), 429)
    path = f"/bookings/{first['user_id']}"
    for _ in range(3):
        assert (await api.get(path, headers=bearer(OLD))).status_code == 200
    cancelled = await api.call("POST", f"{path}/cancel", headers=bearer(OLD))
    assert body_of(cancelled)["status"] == "cancelled"


async def test_as_it_comes_there_is_no_rate(bookings: StandIn) -> None:
    api = over(bookings)
    for _ in range(5):
        assert (await api.book(JOHN)).status_code == 200
