"""This checkout beside another one: bookings, histories, look-ups, open pages.

Both have processes of their own, and take turns. The bounds are those of the redesign that made the
record answer, measured beside the commit before it, 41c864e.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple, TypeVar

from benchmarks.counting import bytes_of_history
from benchmarks.measure import Spread, cpu_of, cpu_seconds, p50, rate, warm_up
from benchmarks.reading import without_temporal
from benchmarks.reports import Effort, Report, Target, pair
from benchmarks.stacks import SIMULATED_WAITS, Stack, project
from benchmarks.watching import (
    PAGES,
    SHARE_LIMIT,
    WAITING,
    Window,
    begun,
    connection_to,
    lasting,
    shares_of_core,
    window,
)

TRIPS = 10
"""Their histories are measured; they differ by a few bytes."""

AS_FAST = 1.2
"""A look-up may take so many times as long when Temporal or the workers are away: chance alone
makes medians differ that much."""

Stacks = tuple[Stack, Stack]
Found = TypeVar("Found")


class LookUps(NamedTuple):
    """What the look-ups of a while took, in ms."""

    p50: float
    cpu: float
    """CPU time that one look-up added, of all processes together."""


def beside_checkout(effort: Effort) -> Report:
    """(v) This checkout's server, worker and API beside those of another one."""
    report = Report(f"This checkout beside {effort.beside}")
    with project() as ours, project(source=effort.beside) as theirs:
        _bookings(report, effort, (ours, theirs))
    with (
        project(settings=SIMULATED_WAITS) as ours,
        project(settings=SIMULATED_WAITS, source=effort.beside) as theirs,
    ):
        sizes = _in_turns(effort, (ours, theirs), lambda stack: bytes_of_history(stack, TRIPS))
        _compare(report, "bytes of the tutorial's booked trip's history", sizes, 0.8)
    with lasting() as ours, lasting(effort.beside) as theirs:
        _look_ups(report, effort, (ours, theirs))
        _pages(report, effort, (ours, theirs))
    return report


def _bookings(report: Report, effort: Effort, stacks: Stacks) -> None:
    for stack in stacks:
        warm_up(stack)
    one, other = pair(effort, *stacks, ("this", "other"), 1)
    many, others = pair(effort, *stacks, ("this", "other"), 100)
    worker = many.ratio(others, cpu_of("worker"))
    report.series += [one, other, many, others]
    report.targets += [
        Target("p50 / other, 1 at once", one.ratio(other, p50), 1.0, False),
        Target("rate / other, 100 at once", many.ratio(others, rate), 1.0, True),
        Target("worker's CPU of a booking / other, 100 at once", worker, 0.9, False),
    ]


def _look_ups(report: Report, effort: Effort, stacks: Stacks) -> None:
    """Look up a running trip in turns; then here alone, also without Temporal or workers."""
    seconds = effort.watched_seconds / 3
    trips = {stack: begun(stack, WAITING, 1)[0] for stack in stacks}

    def look_up(stack: Stack) -> LookUps:
        return _looked_up(stack, trips[stack], seconds)

    for stack in stacks:
        look_up(stack)  # The first ones are slower.
    ours, theirs = _in_turns(effort, stacks, look_up)
    times = [one.p50 for one in ours], [one.p50 for one in theirs]
    spent = [one.cpu for one in ours], [one.cpu for one in theirs]
    _compare(report, "p50 of a look-up, ms", times, 0.2)
    _compare(report, "CPU of a look-up, all processes, ms", spent, 0.15)

    stack, usual, frozen, alone = stacks[0], [], [], []
    for _ in range(effort.repetitions):
        usual.append(look_up(stack).p50)
        with without_temporal(stack):
            frozen.append(look_up(stack).p50)
        stack.scale(workers=0, apis=1)
        alone.append(look_up(stack).p50)
        stack.scale(workers=1, apis=1)
    _compare(report, "p50 of a look-up, Temporal frozen / not, ms", (frozen, usual), AS_FAST)
    _compare(report, "p50 of a look-up, no worker / one, ms", (alone, usual), AS_FAST)


def _looked_up(stack: Stack, user_id: str, seconds: float) -> LookUps:
    """Look a trip up for so long, over one connection. Raises `RuntimeError`."""
    resting = _all(shares_of_core(stack, seconds))
    took: list[float] = []
    with closing(connection_to(stack)) as line:
        before, began = _all(cpu_seconds(stack)), time.monotonic()
        while (asked := time.monotonic()) < began + seconds:
            line.request("GET", f"/bookings/{user_id}")
            answer = line.getresponse()
            body = answer.read()
            took.append(1000 * (time.monotonic() - asked))
            if answer.status != 200:
                raise RuntimeError(f"{user_id} was answered {answer.status}: {body[:200]!r}")
        lasted = time.monotonic() - began
        spent = _all(cpu_seconds(stack)) - before - resting * lasted
    return LookUps(statistics.median(took), 1000 * spent / len(took))


def _pages(report: Report, effort: Effort, stacks: Stacks) -> None:
    trips = {stack: begun(stack, WAITING) for stack in stacks}

    def watched(stack: Stack) -> Window:
        return window(effort, stack, trips[stack])

    ours, theirs = _in_turns(effort, stacks, watched)
    polls = [[each.watch.quantile_ms(0.5) for each in windows] for windows in (ours, theirs)]
    _compare(report, "p50 of an open page's poll, ms", (polls[0], polls[1]), 0.1)
    what = f"share of a core that {PAGES} open pages take"
    added = [Spread.of([each.added for each in windows]) for windows in (ours, theirs)]
    report.targets.append(Target(what, added[0], SHARE_LIMIT, False))
    report.facts.append(f"{what}: {_told(added[0])}, other {_told(added[1])}")
    failed = sum((each.watch.errors for each in (*ours, *theirs)), Counter())
    refused = sum(each.watch.refused for each in (*ours, *theirs))
    report.facts.append(f"polls: errors {dict(failed) or 'none'}, {refused} to be asked again")


def _in_turns(
    effort: Effort, stacks: Stacks, measure: Callable[[Stack], Found]
) -> tuple[list[Found], list[Found]]:
    """Measure both stacks in every repetition, each as often the first one."""
    found: tuple[list[Found], list[Found]] = ([], [])
    for repetition in range(effort.repetitions):
        for which in (0, 1) if repetition % 2 == 0 else (1, 0):
            found[which].append(measure(stacks[which]))
    return found


def _compare(
    report: Report, what: str, values: tuple[Sequence[float], Sequence[float]], bound: float
) -> None:
    """Add the median of the pairs' ratios, which is to be `bound` at most, and what it is of."""
    ours, theirs = values
    ratios = Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])
    report.targets.append(Target(f"{what}, ratio", ratios, bound, False))
    report.facts.append(f"{what}: {_told(Spread.of([*ours]))} to {_told(Spread.of([*theirs]))}")


def _told(spread: Spread) -> str:
    return f"{spread.median:.3g} ({spread.low:.3g}-{spread.high:.3g})"


def _all(of_roles: dict[str, float]) -> float:
    """Return the sum for all processes of the stack."""
    return sum(value for role, value in of_roles.items() if role != "client")
