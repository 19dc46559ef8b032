"""A small model of the service: what it can do at a rate, and how long so many at once take.

`python -m benchmarks.model 100 1000 10000` prints what those rates of trips need, from the costs
below. `make bench BENCH=m` measures the costs that the model needs and shows what it predicts from
them beside what is measured. What the figures mean is in docs/scaling.md.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

SECONDS_OF_MONTH = 365 * 24 * 3600 / 12

BUSY = 0.6
"""The share of its time that a station may be busy, where a load is planned: beyond it the waits
grow faster than the load, and nothing is left for the hour in which a part of it is away."""


class Station(NamedTuple):
    """A place where trips wait for each other."""

    name: str
    demand: float
    """Seconds that a trip keeps one of the servers busy, all its visits together."""
    servers: int = 1
    """How many trips are served at the same time: cores, or processes of one core each."""

    @property
    def capacity(self) -> float:
        """Trips a second, at the most."""
        return self.servers / self.demand if self.demand else math.inf


class Flow(NamedTuple):
    """How trips get through."""

    rate: float
    """Trips a second."""
    seconds: float
    """What a trip takes on average; infinite where more come than get through."""

    @property
    def under_way(self) -> float:
        """Trips at the same time, by Little's law."""
        return self.rate * self.seconds


def narrowest(stations: Sequence[Station]) -> Station:
    """Return the station that is the first to be full when the rate grows."""
    return min(stations, key=lambda station: station.capacity)


def with_room(station: Station, rate: float) -> Station:
    """Return the station with as many servers as the rate needs."""
    return station._replace(servers=max(1, math.ceil(rate * station.demand / BUSY)))


def at_rate(rate: float, stations: Sequence[Station], delay: float = 0.0) -> Flow:
    """Return how trips get through that come at random at a rate, however many are under way.

    Each station is an M/M/c queue; `delay` is what a trip waits where none waits for another one.
    """
    return Flow(rate, delay + sum(_response(rate, station) for station in stations))


def at_once(customers: int, single: float, capacity: float, delay: float = 0.0) -> Flow:
    """Return how trips get through when so many callers book again and again.

    A trip takes `single` seconds alone, besides `delay`; together no more than `capacity` a second
    get through. So the service is one station whose rate depends on how many are there, and a
    `delay` at which nobody waits for another one: a birth-death process, solved exactly. The method
    is that of a flow-equivalent centre (Chandy, Herzog and Woo, 1975).
    """

    def served(present: int) -> float:
        return min(present / single, capacity)

    if delay == 0:
        rate = served(customers)
        return Flow(rate, customers / rate)
    # By logarithms: the chances of thousands of callers reach beyond what a float can hold.
    weights = list(
        itertools.accumulate(
            range(1, customers + 1),
            lambda weight, present: (
                weight + math.log((customers - present + 1) / delay / served(present))
            ),
            initial=0.0,
        )
    )
    most = max(weights)
    chances = [math.exp(weight - most) for weight in weights]
    busy = sum(chance * served(present) for present, chance in enumerate(chances))
    rate = busy / sum(chances)
    return Flow(rate, customers / rate)


def chance_to_wait(load: float, servers: int) -> float:
    """Return Erlang's C: the chance that all servers are busy when somebody comes.

    `load` is how many servers are busy on average; it is less than there are.
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def _response(rate: float, station: Station) -> float:
    load = rate * station.demand
    if load >= station.servers:
        return math.inf
    waiting = chance_to_wait(load, station.servers) * station.demand / (station.servers - load)
    return station.demand + waiting


@dataclass(frozen=True)
class Costs:
    """What a booked trip costs. Times in seconds of CPU, sizes in bytes."""

    api: float
    worker: float
    temporal: float
    postgres: float
    delay: float
    """Seconds that a trip waits for nobody: for suppliers, above all."""
    actions: int
    transitions: int
    """Writes to Temporal's database, each under the lock of its history shard."""
    workflow_tasks: int
    rpcs: int
    history: int
    commits: int
    """Transactions of the record."""
    recorded: int
    """Bytes that a trip adds to the record for good, indexes included."""
    wal: int

    @property
    def stations(self) -> list[Station]:
        """Where trips wait for each other, each with one server."""
        return [
            Station("API", self.api),
            Station("worker", self.worker),
            Station("Temporal", self.temporal),
            Station("PostgreSQL", self.postgres),
        ]


MEASURED = Costs(
    api=0.005,
    worker=0.021,
    temporal=0.030,
    postgres=0.003,
    delay=4.0,
    actions=5,
    transitions=12,
    workflow_tasks=4,
    rpcs=13,
    history=5_300,
    commits=6,
    recorded=2_250,
    wal=5_000,
)
"""`make bench BENCH="g n"`, the CPU times at 100 at once on two quiet cores, on 2026-11-26; the
bytes of a history on 2026-11-29."""

TIERS = [(5, 50.0), (5, 45.0), (10, 40.0), (30, 35.0), (50, 30.0), (100, 25.0)]
"""Millions of actions of a month, and dollars a million; https://docs.temporal.io/cloud/pricing,
read on 2026-11-26. What more cost is to be asked; the last price is taken for the most it is."""

ACTIVE, RETAINED = 0.042, 0.00105
"""Dollars for a gigabyte in an hour, of open and of closed workflows; from the same page."""

SUPPORT, LEAST_SUPPORT = 0.10, 500.0
"""Of the rest, and the least dollars of a month in the plan that has those tiers. The one without
that least has the first price for all actions; from the same page."""


def dollars_of(actions: float) -> float:
    """Return what so many actions of a month cost."""
    dollars, left = 0.0, actions / 1e6
    for size, price in TIERS:
        dollars += min(left, size) * price
        left -= min(left, size)
    return dollars + left * TIERS[-1][1]


def cloud_dollars(rate: float, costs: Costs, retention_days: float) -> float:
    """Return what a month of trips at a rate costs in Temporal Cloud, in the cheaper plan."""
    actions = rate * costs.actions * SECONDS_OF_MONTH
    gigabytes_a_second = rate * costs.history / 1e9
    month_hours = SECONDS_OF_MONTH / 3600
    active = gigabytes_a_second * costs.delay * month_hours * ACTIVE
    retained = gigabytes_a_second * retention_days * 86_400 * month_hours * RETAINED
    storage = active + retained
    small = (actions / 1e6 * TIERS[0][1] + storage) * (1 + SUPPORT)
    large = dollars_of(actions) + storage
    return min(small, large + max(LEAST_SUPPORT, large * SUPPORT))


def needs(rate: float, costs: Costs, retention_days: float) -> Iterator[tuple[str, str]]:
    """Yield what a rate of trips needs, each with its name."""
    stations = [with_room(station, rate) for station in costs.stations]
    flow = at_rate(rate, stations, costs.delay)
    for station in stations:
        yield f"{station.name}, cores", f"{station.servers:,}"
    yield "a trip takes", f"{flow.seconds:.2f} s"
    yield "trips under way", f"{flow.under_way:,.0f}"
    yield "actions a second", f"{rate * costs.actions:,.0f}"
    yield "RPCs a second", f"{rate * costs.rpcs:,.0f}"
    yield "state transitions a second", f"{rate * costs.transitions:,.0f}"
    yield "workflow tasks a second", f"{rate * costs.workflow_tasks:,.0f}"
    yield "transactions of the record a second", f"{rate * costs.commits:,.0f}"
    yield "PostgreSQL's log", f"{rate * costs.wal / 1e6:,.1f} MB/s"
    yield "the record grows by", f"{rate * costs.recorded * 365 * 86_400 / 1e12:,.1f} TB a year"
    held = rate * costs.history * retention_days * 86_400 / 1e12
    yield f"histories kept, {retention_days:g} days", f"{held:,.2f} TB"
    dollars = cloud_dollars(rate, costs, retention_days)
    yield "Temporal Cloud, a month", f"${dollars:,.0f}"


def main() -> None:
    """Print what each rate needs, side by side."""
    parser = argparse.ArgumentParser("python -m benchmarks.model", description=main.__doc__)
    parser.add_argument("rates", nargs="*", type=float, default=[100.0, 1_000.0, 10_000.0])
    parser.add_argument("--delay", type=float, default=MEASURED.delay, help="seconds of waiting")
    parser.add_argument("--retention", type=float, default=1.0, help="days")
    options = parser.parse_args()
    costs = replace(MEASURED, delay=options.delay)
    columns = [dict(needs(rate, costs, options.retention)) for rate in options.rates]
    rows = [("trips a second", *(f"{rate:,.0f}" for rate in options.rates))]
    rows += [(name, *(column[name] for column in columns)) for name in columns[0]]
    for name, *cells in rows:
        sys.stdout.write(f"{name:38}" + "".join(f"{cell:>16}" for cell in cells) + "\n")


if __name__ == "__main__":
    main()
