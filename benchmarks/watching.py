"""What many open pages of running trips cost, and what they take from bookings."""

import contextlib
import functools
import http.client
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import Trip, through_http
from benchmarks.measure import Sample, Series, Spread, cpu_seconds, p50, rate, sample, warm_up
from benchmarks.pages import Watch, open_pages
from benchmarks.reading import without_temporal
from benchmarks.reports import Contender, Effort, Report, Target, contender, take_turns
from benchmarks.stacks import NO_WAITS, Stack, project
from tests.processes import ROOT, wait_until

PAGES = 200

SHARE_LIMIT = 0.15
"""Of a core: all that so many open pages may take, of every process together."""

LASTS = 7_200.0
LASTING = NO_WAITS | {
    "TRY_TIMEOUT_SECONDS": f"{LASTS}",
    "STEP_DEADLINE_SECONDS": f"{LASTS}",
    "TRIP_DEADLINE_SECONDS": f"{LASTS}",
    "RETRY_INTERVAL_SECONDS": "5",
    "RETRY_INTERVAL_CAP_SECONDS": "5",
}
"""With these a trip waits for its slow supplier all the time, and a flaky supplier is asked again
and again."""

WAITING = Trip(hotel="slow-hotel")
RETRIED = Trip(hotel="flaky-1000-hotel")
TRIES = 100

HANGING_SECONDS = 3.0
"""By then every page has asked while Temporal does not answer."""
ASKED_MEANWHILE = 20

ROLES = ("api", "worker", "server")
QUANTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True)
class Window:
    """What each role took, as a share of a core, without pages and then with pages open."""

    without: dict[str, float]
    shares: dict[str, float]
    seconds: float
    watch: Watch

    @property
    def cost_ms(self) -> float:
        """The CPU time that a page's question cost the API."""
        spent = (self.shares["api"] - self.without["api"]) * self.seconds
        return 1000 * spent / max(1, len(self.watch.latencies))

    @property
    def added(self) -> float:
        """The share of a core that the pages take, of all processes together."""
        return sum(self.shares[role] - self.without[role] for role in ROLES)


def pages_beside_none(effort: Effort) -> Report:
    """(w) Many open pages of trips that run, beside the same trips without a page."""
    report = Report(
        f"{PAGES} open pages of trips that run, beside the same without a page "
        "(the CPU of a booking includes that of the pages)"
    )
    with lasting() as stack:
        warm_up(stack)
        waiting = begun(stack, WAITING)
        windows = [window(effort, stack, waiting) for _ in range(effort.repetitions)]
        report.facts += _told("nothing changes", windows)
        watches = [window.watch for window in windows]
        for at_once in (1, 50):
            watches += _bookings(report, effort, stack, waiting, at_once)
        report.facts += _while_temporal_hangs(stack, waiting)
        moving = window(effort, stack, begun(stack, RETRIED))
        report.facts += _told("all are tried every five seconds", [moving])
    _judge(report, windows, sum((watch.errors for watch in watches), Counter()))
    return report


def _judge(report: Report, windows: Sequence[Window], errors: Counter[str]) -> None:
    report.facts.append(f"errors of pages: {dict(errors) or 'none'}")
    share = Spread.of([window.added for window in windows])
    refused = [float(window.watch.refused) for window in windows]
    of_bookings = sum(series.errors.total() for series in report.series)
    report.targets = [
        Target(f"share of a core that {PAGES} pages take", share, SHARE_LIMIT, False),
        Target("questions that are to be asked again", Spread.of(refused), 0, False),
        Target("errors of pages", Spread.of([float(errors.total())]), 0, False),
        Target("errors of bookings beside them", Spread.of([float(of_bookings)]), 0, False),
    ]


def lasting(source: Path = ROOT) -> contextlib.AbstractContextManager[Stack]:
    """Return a started stack of a checkout, in which trips wait for slow suppliers for hours."""
    return project(settings=LASTING, source=source, suppliers=True, slow_seconds=LASTS)


def begun(stack: Stack, trip: Trip, count: int = PAGES) -> list[str]:
    """Begin so many trips, and return their ids once all are at the hotel."""
    body = json.dumps(vars(trip) | {"attempts": TRIES})
    with closing(connection_to(stack)) as line:

        def at_hotel(user_id: str) -> bool:
            steps = _json(line, f"/bookings/{user_id}")["steps"]
            return any(step["kind"] == "hotel" and step["state"] == "booking" for step in steps)

        user_ids = []
        for _ in range(count):
            headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
            line.request("POST", "/book", body, headers)
            user_ids.append(json.loads(line.getresponse().read())["user_id"])
        for user_id in user_ids:
            wait_until(functools.partial(at_hotel, user_id), f"{user_id} is at the hotel")
    return user_ids


def window(effort: Effort, stack: Stack, user_ids: Sequence[str]) -> Window:
    """Measure a stack without pages, and then with a page open of each trip."""
    without = shares_of_core(stack, effort.watched_seconds)
    with open_pages(stack.api_urls[0], user_ids) as watch:
        shares = shares_of_core(stack, effort.watched_seconds)
    return Window(without, shares, effort.watched_seconds, watch)


def shares_of_core(stack: Stack, seconds: float) -> dict[str, float]:
    """Return which share of a core each role takes for so long."""
    before, began = cpu_seconds(stack), time.monotonic()
    time.sleep(seconds)
    after, took = cpu_seconds(stack), time.monotonic() - began
    return {role: (after[role] - before[role]) / took for role in after}


def _bookings(
    report: Report, effort: Effort, stack: Stack, user_ids: Sequence[str], at_once: int
) -> list[Watch]:
    """Book with the pages open and without, in turns; return what the pages were answered."""
    watches: list[Watch] = []

    def beside_pages(bookings: int) -> Sample:
        with open_pages(stack.api_urls[0], user_ids) as watch:
            watches.append(watch)
            return sample(stack, bookings, at_once)

    with_pages = Contender(Series(f"{PAGES} pages", at_once), beside_pages)
    beside, alone = take_turns(effort, [with_pages, contender("no page", at_once, stack)])
    report.series += [beside, alone]
    refused = sum(watch.refused for watch in watches)
    asked = refused + sum(len(watch.latencies) for watch in watches)
    report.facts += [
        f"bookings with pages / without, {at_once} at once: "
        f"rate {_spread(beside.ratio(alone, rate))}, p50 {_spread(beside.ratio(alone, p50))}; "
        f"of the pages' questions {refused / max(1, asked):.1%} are to be asked again"
    ]
    return watches


def _while_temporal_hangs(stack: Stack, user_ids: Sequence[str]) -> list[str]:
    """Tell how the API answers while Temporal is frozen, and that the pages go on."""
    with closing(connection_to(stack)) as line:
        over = _json(line, "/bookings?status=booked&limit=1")["bookings"][0]["user_id"]
        with open_pages(stack.api_urls[0], user_ids) as watch:
            with without_temporal(stack):
                time.sleep(HANGING_SECONDS)
                facts = [
                    _repeated(line, path)
                    for path in ("/livez", f"/bookings/{over}", f"/trips/{over}")
                ]
                load = through_http(stack.api_urls, Trip(), ASKED_MEANWHILE, ASKED_MEANWHILE)
            answered, failed = len(watch.latencies), dict(watch.errors)
    return [
        f"while Temporal is frozen: {ASKED_MEANWHILE} POST /book at once after "
        f"{load.seconds:.1f} s: {dict(load.errors)}",
        *facts,
        f"the pages meanwhile: {answered} answers, {watch.refused} to be asked again, "
        f"errors {failed or 'none'}",
    ]


def _repeated(line: http.client.HTTPConnection, path: str) -> str:
    """Ask the same a few times, and tell the answers."""
    statuses: Counter[int] = Counter()
    slowest = 0.0
    for _ in range(ASKED_MEANWHILE):
        began = time.monotonic()
        line.request("GET", path)
        answer = line.getresponse()
        answer.read()
        statuses[answer.status] += 1
        slowest = max(slowest, time.monotonic() - began)
    return f"while Temporal is frozen: {path} {dict(statuses)}, the slowest {1000 * slowest:.0f} ms"


def _told(of: str, windows: Sequence[Window]) -> list[str]:
    """Tell what windows with such trips have shown."""
    watches = [window.watch for window in windows]
    answers = sum(len(watch.latencies) for watch in watches)
    unchanged = sum(watch.unchanged for watch in watches) / max(1, answers)
    times = {name: [watch.quantile_ms(at) for watch in watches] for name, at in QUANTILES.items()}
    refused = sum(watch.refused for watch in watches)
    facts = [f"{of}: {answers} answers, {unchanged:.1%} of them 204; {refused} to be asked again"]
    facts += [f"{of}: {name} of a question {_spread(ms)} ms" for name, ms in times.items()]
    facts.append(
        f"{of}: CPU of a question {_spread([one.cost_ms for one in windows])} ms in the API"
    )
    for role in ROLES:
        opened = _spread([window.shares[role] for window in windows])
        alone = _spread([window.without[role] for window in windows])
        facts.append(f"{of}: share of a core of the {role} {opened}, without pages {alone}")
    return facts


def _spread(values: Spread | list[float]) -> str:
    spread = values if isinstance(values, Spread) else Spread.of(values)
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _json(line: http.client.HTTPConnection, path: str) -> Any:
    line.request("GET", path)
    return json.loads(line.getresponse().read())


def connection_to(stack: Stack) -> http.client.HTTPConnection:
    """Return a connection to the stack's first API."""
    return http.client.HTTPConnection(urlsplit(stack.api_urls[0]).netloc, timeout=60)
