"""What suppliers over HTTP cost, beside the embedded ones, and what slow ones do to a worker."""

from benchmarks.load import Trip, through_http
from benchmarks.measure import Spread, cpu_of, over_http, p50, peak_of, rate, warm_up
from benchmarks.reports import Effort, Report, Target, pair
from benchmarks.stacks import project

SLOW_CALL = 5.0
"""Seconds that a slow supplier takes, each call of it."""

SLOW = Trip(car="slow-car", hotel="slow-hotel", flight="slow-flight")

SLOW_LIMIT = 60.0
"""Seconds by which as many trips as fit are to be booked at slow suppliers, all at once."""


def at_suppliers(effort: Effort) -> Report:
    """(s) Suppliers over HTTP beside the embedded ones; many trips at once at slow ones."""
    report = Report("Suppliers over HTTP, on this machine and without waits, beside embedded ones")
    with project() as embedded, project(suppliers=True) as outside:
        for stack in (embedded, outside):
            warm_up(stack)
        for at_once in (1, 100):
            http, own = pair(effort, outside, embedded, ("HTTP", "embedded"), at_once)
            report.series += [http, own]
            ratios = {
                "p50": http.ratio(own, p50),
                "rate": http.ratio(own, rate),
                "worker CPU": http.ratio(own, cpu_of("worker")),
            }
            report.facts += [
                f"HTTP / embedded, {at_once} at once: {name} {ratio.median:.2f} "
                f"({ratio.low:.2f}-{ratio.high:.2f})"
                for name, ratio in ratios.items()
            ]
    _slow(report, effort.open_requests)
    return report


def _slow(report: Report, count: int) -> None:
    with project(suppliers=True) as stack:
        over_http(stack, Trip(), 20, at_once=20)
        (worker,) = stack.members()["worker"]
        with peak_of(worker) as peak:
            load = through_http(stack.api_urls, SLOW, count, count)
    report.facts.append(
        f"{count} at once, {SLOW_CALL:g} s a call: {len(load.latencies)} booked after "
        f"{load.seconds:.1f} s, errors {dict(load.errors) or 'none'}; worker: "
        f"{peak.resting_mib:.0f} MiB at rest, {peak.mib:.0f} MiB at most, "
        f"{peak.descriptors} descriptors"
    )
    report.targets += [
        Target("errors at slow suppliers", Spread.of([float(sum(load.errors.values()))]), 0, False),
        Target(
            f"{count} trips at slow suppliers", Spread.of([load.seconds]), SLOW_LIMIT, False, " s"
        ),
    ]
