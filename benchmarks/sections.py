"""What is measured: one function a section, each with its baseline in the same run."""

from collections.abc import Callable

from benchmarks.beside import beside_checkout
from benchmarks.counting import counted
from benchmarks.encryption import encrypted_beside_clear
from benchmarks.holds import open_holds
from benchmarks.load import Load, Trip, through_bare_sdk, through_http, through_sdk
from benchmarks.measure import (
    MIB,
    Sample,
    Series,
    Spread,
    all_cpu,
    cpu_of,
    over_http,
    p50,
    p99,
    peak_of,
    rate,
    sample,
    warm_up,
)
from benchmarks.modelled import beside_measured
from benchmarks.outside import at_suppliers
from benchmarks.reading import (
    KEYS,
    Read,
    fill_record,
    guesses,
    median_ms,
    paired_ms,
    questions,
    without_temporal,
)
from benchmarks.reports import (
    BOOKINGS,
    Contender,
    Effort,
    Report,
    Target,
    contender,
    pair,
    take_turns,
)
from benchmarks.stacks import NO_WAITS, SIMULATED_WAITS, Stack, defaults, project
from benchmarks.telemetry import watched_beside_unwatched
from benchmarks.waiting import waiting_beyond_long_polls
from benchmarks.watching import pages_beside_none
from benchmarks.webhooks import told_beside_untold
from tests.processes import Database

DATABASES: tuple[Database, ...] = ("sqlite", "postgresql")


def http_beside_sdk(effort: Effort) -> Report:
    """(a) What HTTP costs: the API beside the SDK's client on the same server."""
    report = Report("HTTP beside the raw SDK, on the project's server and worker")
    ways = {"HTTP": over_http, "SDK, same booking": _sdk, "SDK, bare": _bare_sdk}
    with project() as stack:
        warm_up(stack)
        for at_once in BOOKINGS:
            contenders = [contender(name, at_once, stack, way) for name, way in ways.items()]
            http, sdk, bare = take_turns(effort, contenders)
            report.series += [http, sdk, bare]
            if at_once == 1:
                added = http.added(sdk, p50)
                report.targets.append(Target("HTTP adds, 1 at once", added, 5.0, False, " ms"))
            if at_once >= 50:
                kept = http.ratio(sdk, rate)
                report.targets.append(
                    Target(f"rate of HTTP / SDK, {at_once} at once", kept, 0.95, True)
                )
    return report


def beside_defaults(effort: Effort) -> Report:
    """(b) and (c) Speed, and CPU time per booking, beside server and worker as they come."""
    report = Report("The project's settings beside the defaults of dev server and worker")
    with project() as ours, defaults() as theirs:
        for stack in (ours, theirs):
            warm_up(stack)
        one, one_default = pair(effort, ours, theirs, ("project", "defaults"), 1)
        many, many_default = pair(effort, ours, theirs, ("project", "defaults"), 100)
    report.series = [one, one_default, many, many_default]
    report.targets = [
        Target("p50 of defaults / project, 1 at once", one_default.ratio(one, p50), 3.0, True),
        Target("rate / defaults, 100 at once", many.ratio(many_default, rate), 1.15, True),
        Target("p99 / defaults, 100 at once", many.ratio(many_default, p99), 0.5, False),
        Target(
            "worker CPU / defaults, 100 at once",
            many.ratio(many_default, cpu_of("worker")),
            0.6,
            False,
        ),
    ]
    return report


def long_record(effort: Effort) -> Report:
    """(r) Look-ups and pages of the list, of a record beside one that is ten times as long.

    Temporal is frozen meanwhile, so it is not asked.
    """
    few, many = effort.recorded
    report = Report(f"Look-ups and pages of 20, Temporal frozen, {few} and {many} trips recorded")
    for database in DATABASES:
        with (
            project(database, NO_WAITS | KEYS) as short,
            project(database, NO_WAITS | KEYS) as long,
        ):
            fill_record(short, few)
            fill_record(long, many)
            with (
                without_temporal(short),
                without_temporal(long),
                questions(short, few) as of_short,
                questions(long, many) as of_long,
            ):
                for name, read in of_short.items():
                    _compare_reads(report, effort, f"{database}, {name}", (read, of_long[name]))
    return report


def _compare_reads(report: Report, effort: Effort, name: str, reads: tuple[Read, Read]) -> None:
    """Ask the short and the long record in turns."""
    for read in reads:
        median_ms(read, 10)  # The first ones are slower.
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(effort.repetitions):
        for which in (0, 1) if repetition % 2 == 0 else (1, 0):
            times[which].append(median_ms(reads[which], effort.reads))
    short, long = map(Spread.of, times)
    ratio = Spread.of([theirs / ours for ours, theirs in zip(*times, strict=True)])
    few, many = effort.recorded
    report.facts.append(
        f"{name}: p50 {short.median:.2f} ms of {few}, {long.median:.2f} ms of {many}"
    )
    bound = 3.0 if name.endswith("look-up") else 10.0
    report.targets += [
        Target(f"{name}, p50 of {few}", short, bound, False, " ms"),
        Target(f"{name}, {many} / {few}", ratio, 2.0, False),
    ]


def guessed_ids(effort: Effort) -> Report:
    """(o) What tells a guessed id that is another caller's from one that is nobody's: the time."""
    pairs, size = 10 * effort.reads, effort.recorded[0] // 10
    report = Report(f"404 of another's trip beside 404 of no trip, {pairs} pairs a sample")
    for database in DATABASES:
        with project(database, NO_WAITS | KEYS) as stack:
            fill_record(stack, size)
            with without_temporal(stack), guesses(stack, size) as ways:
                for name, reads in ways.items():
                    paired_ms(reads, 20)  # The first ones are slower.
                    times = [paired_ms(reads, pairs) for _ in range(effort.repetitions)]
                    ratio = Spread.of([others / nobodys for nobodys, others in times])
                    what = f"{database}, {name}: another's / nobody's"
                    report.facts.append(f"{what} p50 {times[0][1]:.2f} / {times[0][0]:.2f} ms")
                    report.targets += [
                        Target(what, ratio, 0.95, True),
                        Target(what, ratio, 1.05, False),
                    ]
    return report


def open_requests(effort: Effort) -> Report:
    """(d) Many `POST /book` open at once in one API process, while the hotel is slow."""
    count = effort.open_requests
    report = Report(f"{count} open POST /book at once, simulated waits on, one API process")
    with project(settings=SIMULATED_WAITS) as stack:
        over_http(stack, Trip(), 5, at_once=5)
        api = stack.members()["api"][0]
        with peak_of(api) as peak:
            load = through_http(stack.api_urls, Trip(), count, count)
    errors = sum(load.errors.values())
    report.facts = [
        f"completed {len(load.latencies)} of {count}, errors {dict(load.errors) or 'none'}",
        f"all done after {load.seconds:.1f} s: "
        f"p50 {load.p50:.1f} s, p99 {load.quantile(0.99):.1f} s",
        f"API process: {peak.resting_mib:.0f} MiB at rest, {peak.mib:.0f} MiB at most, "
        f"{peak.threads} threads, {peak.descriptors} descriptors",
    ]
    report.targets = [
        Target("errors", Spread.of([float(errors)]), 0, False),
        Target("memory of the API process", Spread.of([peak.mib]), 300, False, " MiB"),
    ]
    return report


def rolled_back(effort: Effort) -> Report:
    """(e) Trips that are rolled back beside booked ones."""
    report = Report("Rolled-back trips beside booked ones")
    trips = {
        "booked": Trip(),
        "hotel refused": Trip(hotel="invalid-hotel-id"),
        "flight refused": Trip(flight="invalid-flight-id"),
    }
    with project() as stack:
        warm_up(stack)
        for at_once in (1, 50):
            contenders = [
                contender(name, at_once, stack, trip=trip) for name, trip in trips.items()
            ]
            report.series += take_turns(effort, contenders)
    return report


def full_stores(effort: Effort) -> Report:
    """(f) The cost of a booking when the stores are full, beside a stack that is not."""
    report = Report("Cost per booking after so many bookings in the stores")
    reference_fill = effort.fills[1]
    with project() as filled, project() as reference:
        warm_up(filled)
        fill(reference, reference_fill)
        done = 60
        for size in effort.fills:
            fill(filled, size - done)
            names = (f"after {size}", f"after {reference_fill}, beside it")
            cost, beside = pair(effort, filled, reference, names, 50)
            done = size + len(cost.samples) * effort.bookings(50)
            report.series += [cost, beside]
            report.facts.append(f"after {size}: {_store_sizes(filled)}")
            if size > reference_fill:
                report.targets.append(
                    Target(
                        f"CPU per booking after {size} / after {reference_fill}",
                        cost.ratio(beside, all_cpu),
                        1.15,
                        False,
                    )
                )
    return report


def databases(effort: Effort) -> Report:
    """(g) Reservations in SQLite beside PostgreSQL."""
    report = Report("Reservations in SQLite beside PostgreSQL")
    with project("sqlite") as sqlite, project("postgresql") as postgresql:
        for stack in (sqlite, postgresql):
            warm_up(stack)
        for at_once in (1, 100):
            names = ("SQLite", "PostgreSQL")
            report.series += pair(effort, sqlite, postgresql, names, at_once)
    return report


def scales(effort: Effort) -> Report:
    """(h) One, two and three workers; one and two API processes."""
    report = Report("Workers and API processes on one server, 100 at once")
    scales = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)]
    series = [Series(f"{workers} worker(s), {apis} API(s)", 100) for workers, apis in scales]
    with project() as stack:
        warm_up(stack)

        def scaled(workers: int, apis: int) -> Callable[[int], Sample]:
            def measure(bookings: int) -> Sample:
                stack.scale(workers, apis)
                warm_up(stack)
                return sample(stack, bookings, 100)

            return measure

        contenders = [
            Contender(one, scaled(*scale)) for one, scale in zip(series, scales, strict=True)
        ]
        report.series = take_turns(effort, contenders)
    return report


SECTIONS: dict[str, Callable[[Effort], Report]] = {
    "a": http_beside_sdk,
    "b": beside_defaults,
    "d": open_requests,
    "e": rolled_back,
    "f": full_stores,
    "g": databases,
    "h": scales,
    "i": open_holds,
    "k": told_beside_untold,
    "m": beside_measured,
    "n": counted,
    "l": waiting_beyond_long_polls,
    "o": guessed_ids,
    "r": long_record,
    "s": at_suppliers,
    "t": watched_beside_unwatched,
    "v": beside_checkout,
    "w": pages_beside_none,
    "x": encrypted_beside_clear,
}
"""By the letters of the issue; `c`, CPU time per booking, is a column of every section."""


def fill(stack: Stack, bookings: int) -> None:
    """Put so many bookings into the stores of a stack.

    Raises `RuntimeError` when one of them fails.
    """
    chunk = 1_000
    for begin in range(0, bookings, chunk):
        load = _sdk(stack, Trip(), min(chunk, bookings - begin), 50)
        if load.errors:
            raise RuntimeError(f"Filling the stores failed: {dict(load.errors)}")


def _sdk(stack: Stack, trip: Trip, bookings: int, at_once: int) -> Load:
    return through_sdk(stack.temporal_address, trip, bookings, at_once)


def _bare_sdk(stack: Stack, trip: Trip, bookings: int, at_once: int) -> Load:
    return through_bare_sdk(stack.temporal_address, trip, bookings, at_once)


def _store_sizes(stack: Stack) -> str:
    server = stack.members()["server"][0].memory_info().rss / MIB
    files = {
        name: sum(file.stat().st_size for file in stack.folder.glob(f"{name}.db*")) / MIB
        for name in ("temporal", "reservations")
    }
    sizes = ", ".join(f"{name}.db {size:.0f} MiB" for name, size in files.items())
    return f"{sizes}, memory of the server {server:.0f} MiB"
