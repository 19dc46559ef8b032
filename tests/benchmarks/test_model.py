"""The model's arithmetic, beside what is known of queues."""

import math
from dataclasses import replace

import pytest

from benchmarks.model import (
    MEASURED,
    Flow,
    Station,
    at_once,
    at_rate,
    chance_to_wait,
    cloud_dollars,
    dollars_of,
    narrowest,
    with_room,
)


def test_one_server_is_an_m_m_1_queue() -> None:
    """R = S / (1 - utilisation)."""
    for rate in (1.0, 10.0, 19.0):
        assert at_rate(rate, [Station("one", 0.05)]).seconds == pytest.approx(
            0.05 / (1 - rate / 20)
        )


def test_the_chance_to_wait_is_erlangs() -> None:
    """Known values of Erlang's C: 1/3 of two servers with a load of 1, 0.4092 of ten with 8."""
    assert chance_to_wait(0.5, 1) == pytest.approx(0.5)
    assert chance_to_wait(1.0, 2) == pytest.approx(1 / 3)
    assert chance_to_wait(8.0, 10) == pytest.approx(0.4092, abs=1e-4)


def test_stations_and_delays_add_up() -> None:
    stations = [Station("one", 0.01), Station("two", 0.02, 3)]
    flow = at_rate(20, stations, delay=4.0)
    parts = [at_rate(20, [station]).seconds for station in stations]
    assert flow.seconds == pytest.approx(4.0 + sum(parts))
    assert flow.under_way == pytest.approx(20 * flow.seconds)


def test_what_is_full_never_ends() -> None:
    full = [Station("full", 0.1, 2), Station("half full", 0.1, 4)]
    assert narrowest(full).name == "full"
    assert at_rate(19.9, full).seconds < math.inf
    assert at_rate(20.0, full).seconds == math.inf


def test_with_room_no_station_is_busier_than_planned() -> None:
    for rate in (1.0, 100.0, 10_000.0):
        for station in MEASURED.stations:
            roomy = with_room(station, rate)
            assert rate * station.demand / roomy.servers <= 0.6
            fewer = roomy._replace(servers=roomy.servers - 1)
            assert fewer.servers == 0 or rate * station.demand / fewer.servers > 0.6


def test_those_who_never_pause_are_served_by_the_slower_of_two_laws() -> None:
    """Few take as long as one alone; many share what gets through, by Little's law."""
    assert at_once(1, 0.06, 35) == Flow(1 / 0.06, 0.06)
    assert at_once(2, 0.06, 35).seconds == pytest.approx(0.06)
    assert at_once(70, 0.06, 35) == Flow(35, 2.0)


def machine_repairman(customers: int, service: float, pause: float) -> float:
    """The rate of a closed M/M/1 queue, by the sum of its states as textbooks have it."""
    ratio = service / pause
    weights = [
        math.factorial(customers) / math.factorial(customers - present) * ratio**present
        for present in range(customers + 1)
    ]
    return (1 - weights[0] / sum(weights)) / service


def test_one_server_with_pauses_is_the_machine_repairman() -> None:
    for customers in (1, 2, 10, 60):
        flow = at_once(customers, 0.05, 1 / 0.05, delay=1.0)
        assert flow.rate == pytest.approx(machine_repairman(customers, 0.05, 1.0))
        assert flow.under_way == pytest.approx(customers)


def test_ten_thousand_at_slow_suppliers_are_no_overflow() -> None:
    few, many = (at_once(count, 0.06, 35, delay=15.0) for count in (10, 10_000))
    assert few.rate == pytest.approx(10 / 15.06, rel=1e-3)
    assert many.rate == pytest.approx(35, rel=1e-3)


def test_actions_cost_what_the_price_list_says() -> None:
    """The example of https://docs.temporal.io/cloud/pricing: 11.25 million are $525."""
    assert dollars_of(11.25e6) == pytest.approx(525)
    assert dollars_of(0) == 0
    assert dollars_of(201e6) - dollars_of(200e6) == pytest.approx(25)


def test_the_cheaper_plan_is_taken() -> None:
    """Few actions in the one without a least price, many in the one with tiers."""
    no_history = replace(MEASURED, history=0)
    month = 365 * 24 * 3600 / 12 * MEASURED.actions
    assert cloud_dollars(0.1, no_history, 1) == pytest.approx(0.1 * month * 50e-6 * 1.1)
    assert cloud_dollars(10, no_history, 1) == pytest.approx(dollars_of(10 * month) + 500)
    assert cloud_dollars(100, no_history, 1) == pytest.approx(dollars_of(100 * month) * 1.1)
    a_day_kept = cloud_dollars(100, MEASURED, 1) - cloud_dollars(100, MEASURED, 0)
    gigabyte_hours = 100 * MEASURED.history / 1e9 * 86_400 * 730
    assert a_day_kept == pytest.approx(gigabyte_hours * 0.00105 * 1.1)
