"""What the model predicts beside what is measured, at the sizes that this machine can run.

Server, worker, API and callers share the machine's cores, so here they are one station. It learns
what a trip takes alone and, from ten at once, how much CPU time one takes when there is always
another; all else is predicted. Others on the machine leave fewer cores to it, each time another
number, which the model is told: where they leave little, it is the CPU time alone that is checked.
"""

import os
import statistics
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.measure import Sample, Series, Spread, p50, rate, sample, warm_up
from benchmarks.model import Flow, at_once
from benchmarks.reports import Contender, Effort, Report, Target, take_turns
from benchmarks.stacks import NO_WAITS, Stack, project

DELAY = 2.0
"""Seconds that a supplier takes."""

ROUNDS = 4
"""So many trips of each caller make a sample at least."""

LEARNED = 10
"""So many at once tell what a trip costs in CPU time."""

WITHIN = 0.25
"""The share by which the model may be wrong: the machine itself swings by more within an hour."""


class Size(NamedTuple):
    """What is measured, and predicted."""

    at_once: int
    workers: int = 1
    delay: float = 0.0

    @property
    def name(self) -> str:
        """What the set-up is called."""
        of_workers = "one worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{of_workers}, {self.delay:g} s of waiting" if self.delay else of_workers


AT_REST = [Size(1), Size(LEARNED), Size(50), Size(100), Size(LEARNED, 2), Size(50, 2), Size(100, 2)]
DELAYED = [Size(LEARNED, delay=DELAY), Size(50, delay=DELAY), Size(100, delay=DELAY)]


class Learned(NamedTuple):
    """What the model knows of the service on this machine."""

    single: float
    """Seconds that a trip takes alone."""
    demand: float
    """Seconds of CPU that a trip takes of all processes, the callers' included."""

    def predict(self, size: Size, cores: float) -> Flow:
        """Return how trips get through on so many cores."""
        return at_once(size.at_once, self.single, cores / self.demand, size.delay)


def beside_measured(effort: Effort) -> Report:
    """(m) The model beside the service: at once, with one and two workers, at a slow supplier."""
    report = Report("The model beside what is measured")
    sizes = [*AT_REST, *DELAYED]
    series = {size: Series(size.name, size.at_once) for size in sizes}
    slow = NO_WAITS | {"HOTEL_LATENCY_SECONDS": f"{DELAY:g}"}
    with project() as quick, project(settings=slow) as delayed:
        for stack in (quick, delayed):
            warm_up(stack)
        contenders = [
            Contender(series[size], _measuring(delayed if size.delay else quick, size))
            for size in sizes
        ]
        report.series = take_turns(effort, contenders)
    alone, busy = series[Size(1)], series[Size(LEARNED)]
    learned = Learned(
        alone.median(p50) / 1000, busy.median(lambda one: sum(one.cpu.values())) / 1000
    )
    report.facts = [
        f"learned: {1000 * learned.single:.0f} ms alone, "
        f"{1000 * learned.demand:.1f} ms of CPU at {LEARNED} at once"
    ]
    for size in sizes:
        _compare(report, learned, size, series[size])
    return report


def _measuring(stack: Stack, size: Size) -> Callable[[int], Sample]:
    def measure(bookings: int) -> Sample:
        if len(stack.workers) != size.workers:
            stack.scale(size.workers, 1)
            warm_up(stack)
        # Callers who begin and end together are no steady load; the model is of one.
        return sample(stack, max(bookings, ROUNDS * size.at_once), size.at_once)

    return measure


def _compare(report: Report, learned: Learned, size: Size, measured: Series) -> None:
    flows = [learned.predict(size, _free_cores(each)) for each in measured.samples]
    pairs = zip(flows, measured.values(rate), strict=True)
    errors = [flow.rate / found - 1 for flow, found in pairs]
    wrong = Spread.of(errors)
    report.facts.append(
        f"{size.name}, {size.at_once} at once, {measured.median(_free_cores):.2f} cores: "
        f"{statistics.median(flow.rate for flow in flows):.1f} trips a second predicted, "
        f"{measured.median(rate):.1f} measured, wrong by {wrong.median:+.0%} "
        f"({wrong.low:+.0%} to {wrong.high:+.0%}); "
        f"{1000 * statistics.median(flow.seconds for flow in flows):.0f} ms predicted, "
        f"p50 {measured.median(p50):.0f} ms measured"
    )
    what = f"the model is wrong by, {size.name}, {size.at_once} at once"
    off = Spread.of([abs(error) for error in errors])
    report.targets.append(Target(what, off, WITHIN, at_least=False))


def _free_cores(one: Sample) -> float:
    """Return how many cores others have left to the service."""
    return (os.cpu_count() or 1) * (1 - one.others)
