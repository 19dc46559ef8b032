"""What a section of the benchmarks is made of: how much is measured, and what is compared.

Set-ups that are compared take turns, so that what the machine does meanwhile meets them alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.load import Trip
from benchmarks.measure import Sample, Series, Spread, Way, over_http, sample
from benchmarks.stacks import Stack
from tests.processes import ROOT

BOOKINGS = {1: 40, 10: 150, 50: 250, 100: 400}
"""How many bookings make a sample, by how many are under way at once."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repetitions: int
    share: float
    """Of the bookings that make a sample."""
    fills: tuple[int, ...]
    """After how many bookings the cost of one is measured."""
    open_requests: int
    recorded: tuple[int, int]
    """How many trips are in the record when it is read: in the one, and in the other beside it."""
    reads: int
    """How often each question makes a sample."""
    watched_seconds: float
    """For how long the CPU time that open pages cost is measured."""
    beside: Path = ROOT
    """Another checkout of the project, to be measured beside this one."""

    def bookings(self, at_once: int) -> int:
        """Return how many bookings make a sample."""
        return max(at_once, round(BOOKINGS[at_once] * self.share))


QUICK = Effort(2, 0.25, (50, 200), 200, (10_000, 50_000), 30, 6.0)
NORMAL = Effort(5, 1.0, (100, 1_000, 10_000), 1_000, (100_000, 1_000_000), 60, 30.0)
FULL = replace(NORMAL, fills=(*NORMAL.fills, 50_000))


@dataclass(frozen=True)
class Target:
    """A bound on what was measured."""

    what: str
    measured: Spread
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the median keeps the bound."""
        reached = self.measured.median
        return reached >= self.bound if self.at_least else reached <= self.bound


@dataclass
class Report:
    """What a section has found."""

    title: str
    series: list[Series] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return {
            "title": self.title,
            "series": [series.as_json() for series in self.series],
            "targets": [asdict(target) | {"met": target.met} for target in self.targets],
            "facts": self.facts,
        }


@dataclass(frozen=True)
class Contender:
    """One of the set-ups that take turns."""

    series: Series
    measure: Callable[[int], Sample]
    """Takes a sample of so many bookings."""


def contender(
    name: str, at_once: int, stack: Stack, way: Way = over_http, trip: Trip | None = None
) -> Contender:
    """Return a contender that books on `stack`, so many at once."""
    return Contender(Series(name, at_once), lambda n: sample(stack, n, at_once, way, trip))


def take_turns(effort: Effort, contenders: Sequence[Contender]) -> list[Series]:
    """Sample each contender in every repetition, in turning order, and return their series."""
    samples = effort.repetitions * len(contenders)
    # In a terminal only.
    with tqdm(total=samples, unit=" samples", leave=False, disable=None) as shown:
        for repetition in range(effort.repetitions):
            order = contenders if repetition % 2 == 0 else contenders[::-1]
            for contender in order:
                series = contender.series
                shown.set_description(f"{series.setup}, {series.at_once} at once")
                series.samples.append(contender.measure(effort.bookings(series.at_once)))
                shown.update()
    return [contender.series for contender in contenders]


def pair(
    effort: Effort, one: Stack, other: Stack, names: tuple[str, str], at_once: int
) -> list[Series]:
    """Book on two stacks in turns, so many at once."""
    contenders = [contender(names[0], at_once, one), contender(names[1], at_once, other)]
    return take_turns(effort, contenders)
