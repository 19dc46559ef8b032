"""Measuring: loads on a stack, with the CPU time that each role's processes spent on them."""

import math
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.load import Load, Trip, through_http
from benchmarks.stacks import Stack

SETTLING_SECONDS = 0.3
"""What a booking leaves to be done after its answer is done within this time."""

MIB = 1024 * 1024

Way = Callable[[Stack, Trip, int, int], Load]
"""How bookings reach a stack: which trip, how many bookings, how many at once."""


@dataclass(frozen=True)
class Sample:
    """One load: its rate in bookings a second, latencies and CPU times in ms, and its errors."""

    rate: float
    p50: float
    p99: float
    cpu: dict[str, float]
    """CPU time per booking, by role."""
    errors: dict[str, int]
    others: float
    """Share of the machine's CPU time that went to what is not part of the measurement."""


@dataclass
class Series:
    """Repeated samples of one set-up."""

    setup: str
    at_once: int
    samples: list[Sample] = field(default_factory=list)

    def values(self, measure: Callable[[Sample], float]) -> list[float]:
        """Return one measure of each sample."""
        return [measure(sample) for sample in self.samples]

    def median(self, measure: Callable[[Sample], float]) -> float:
        """Return the median of one measure."""
        return statistics.median(self.values(measure))

    def ratio(self, baseline: "Series", measure: Callable[[Sample], float]) -> "Spread":
        """Compare with a baseline, pair by pair: the n-th samples were taken side by side.

        A baseline that has booked nothing has spent nothing: its errors tell why.
        """
        return Spread.of(
            [
                ours / theirs if theirs else math.inf
                for ours, theirs in zip(self.values(measure), baseline.values(measure), strict=True)
            ]
        )

    def added(self, baseline: "Series", measure: Callable[[Sample], float]) -> "Spread":
        """Return what is added to a baseline, pair by pair."""
        return Spread.of(
            [
                ours - theirs
                for ours, theirs in zip(self.values(measure), baseline.values(measure), strict=True)
            ]
        )

    @property
    def errors(self) -> Counter[str]:
        """All errors, counted."""
        total: Counter[str] = Counter()
        for sample in self.samples:
            total.update(sample.errors)
        return total

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """The median of some values and the range that they fell in."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Summarize `values`."""
        return cls(statistics.median(values), min(values), max(values))


def rate(sample: Sample) -> float:
    """Bookings a second."""
    return sample.rate


def p50(sample: Sample) -> float:
    """The median latency in ms."""
    return sample.p50


def p99(sample: Sample) -> float:
    """The latency in ms that 99 of 100 bookings did not exceed."""
    return sample.p99


def cpu_of(role: str) -> Callable[[Sample], float]:
    """The CPU time in ms that a role spent on each booking."""
    return lambda sample: sample.cpu[role]


def all_cpu(sample: Sample) -> float:
    """The CPU time in ms that the stack spent on each booking."""
    return sum(spent for role, spent in sample.cpu.items() if role != "client")


def count(stack: Stack, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    """Return how many rows of the record's table meet a condition."""
    engine = sa.create_engine(stack.database_url)
    with engine.connect() as connection:
        counted = connection.scalar(sa.select(sa.func.count()).select_from(table).where(condition))
    engine.dispose()
    return int(counted or 0)


def over_http(stack: Stack, trip: Trip, bookings: int, at_once: int) -> Load:
    """Book through all APIs of the stack."""
    return through_http(stack.api_urls, trip, bookings, at_once)


def sample(
    stack: Stack, bookings: int, at_once: int, way: Way = over_http, trip: Trip | None = None
) -> Sample:
    """Put one load on a stack and measure it. `client` is the CPU time of the load itself."""
    before, busy_before, began = cpu_seconds(stack), _busy_seconds(), time.monotonic()
    load = way(stack, trip or Trip(), bookings, at_once)
    time.sleep(SETTLING_SECONDS)
    after, busy, ended = cpu_seconds(stack), _busy_seconds(), time.monotonic()
    spent = {role: after[role] - before[role] for role in after}
    others = busy - busy_before - sum(spent.values())
    booked = max(1, len(load.latencies))
    return Sample(
        load.rate,
        load.p50 * 1000,
        load.quantile(0.99) * 1000,
        {role: seconds * 1000 / booked for role, seconds in spent.items()},
        dict(load.errors),
        max(0.0, others) / ((ended - began) * (psutil.cpu_count() or 1)),
    )


def warm_up(stack: Stack, bookings: int = 60) -> None:
    """Let every process of the stack do once what it does slower the first time."""
    over_http(stack, Trip(), bookings, at_once=20)


@dataclass
class Peak:
    """The most that a process used at any time, and what it used at the beginning."""

    resting_mib: float = 0.0
    mib: float = 0.0
    threads: int = 0
    descriptors: int = 0


@contextmanager
def peak_of(process: psutil.Process, interval: float = 0.1) -> Iterator[Peak]:
    """Watch a process while the block runs."""
    peak = Peak(resting_mib=process.memory_info().rss / MIB)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            peak.mib = max(peak.mib, process.memory_info().rss / MIB)
            peak.threads = max(peak.threads, process.num_threads())
            peak.descriptors = max(peak.descriptors, process.num_fds())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """Return the CPU time that each role has taken so far; `client` is this process."""
    spent = {
        role: sum(map(_cpu_of_family, processes)) for role, processes in stack.members().items()
    }
    return spent | {"client": time.process_time()}


def _busy_seconds() -> float:
    """Return the CPU time of everything on the machine."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    return float(sum(times) - getattr(times, "guest", 0.0) - idle)


def _cpu_of_family(process: psutil.Process) -> float:
    # PostgreSQL works in its children.
    family = [process, *process.children(recursive=True)]
    times = [member.cpu_times() for member in family]
    return float(sum(spent.user + spent.system for spent in times))
