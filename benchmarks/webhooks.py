"""What it costs to tell others of trips, and how long an outage of the receiver lasts for them."""

import base64
import datetime as dt
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from benchmarks.measure import Sample, Spread, all_cpu, count, p99, rate, sample, warm_up
from benchmarks.reports import Effort, Report, Target, pair
from benchmarks.stacks import NO_WAITS, Stack, project
from record.tables import events
from tests.processes import ROOT, Process, bare_environment, free_port, wait_until

AT_ONCE = 100

BESIDE = 10
"""How many bookings are under way while an outage's events are delivered."""

OUTAGE = 10_000
"""Events."""

FAILURES = 3
"""So often each of them has failed when the receiver is back: then it would wait for ten minutes.
"""

PATIENCE = 3_600.0
"""Seconds for all of them to fail, and to be delivered."""

BATCH = 1_000


def told_beside_untold(effort: Effort) -> Report:
    """(k) Webhooks beside none; then what an outage of the receiver has left is delivered."""
    report = Report("Webhooks to a receiver on this machine beside none")
    with _receiver() as url, project(settings=_webhook(url)) as told, project() as untold:
        for stack in (told, untold):
            warm_up(stack)
        webhooks, none = pair(effort, told, untold, ("webhooks", "none"), AT_ONCE)
        report.series = [webhooks, none]
        kept = webhooks.ratio(none, rate)
        report.targets = [
            Target(f"rate with webhooks / without, {AT_ONCE} at once", kept, 0.8, True)
        ]
        cpu = webhooks.ratio(none, all_cpu)
        report.facts.append(f"CPU with / without: {cpu.median:.2f} ({cpu.low:.2f}-{cpu.high:.2f})")
    with _receiver() as url, project(settings=_webhook(url)) as told:
        warm_up(told)
        _outage(report, round(OUTAGE * effort.share), effort, told, url)
    return report


def _outage(report: Report, size: int, effort: Effort, stack: Stack, url: str) -> None:
    """Have events fail, open the receiver, and book beside their delivery and after it."""
    _ask(f"{url}/closed", "PUT")
    _fill_events(stack, size)
    _until_all(stack, size, events.c.failures >= FAILURES, "have failed")
    before = _ask(f"{url}/taken", "GET")
    # Trips go on in an outage: the events of its last seconds have failed once, and the first of
    # them that is delivered tells that the receiver is back.
    sample(stack, effort.bookings(BESIDE), BESIDE)
    _ask(f"{url}/open", "PUT")
    opened, during = time.monotonic(), []
    delivered = events.c.delivery == "delivered"
    while count(stack, events, delivered & events.c.event_id.like("outage-%")) < size:
        during.append(sample(stack, effort.bookings(BESIDE), BESIDE))
        if time.monotonic() > opened + PATIENCE:
            raise RuntimeError("The events of the outage are not delivered")
    took = time.monotonic() - opened
    taken = _ask(f"{url}/taken", "GET") - before
    after = [sample(stack, effort.bookings(BESIDE), BESIDE) for _ in during]
    report.facts.append(f"{size} events of an outage, {taken} taken in all, {took:.0f} s")
    report.targets += [
        Target(
            f"{size} events of an outage, delivered", Spread(took, took, took), 300, False, " s"
        ),
        Target(
            f"p99 beside their delivery / without, {BESIDE} at once",
            _ratio(during, after),
            1.3,
            False,
        ),
    ]


def _ratio(during: list[Sample], after: list[Sample]) -> Spread:
    return Spread.of([p99(one) / p99(other) for one, other in zip(during, after, strict=True)])


def _webhook(url: str) -> dict[str, str]:
    secret = base64.b64encode(b"b" * 32).decode()
    return NO_WAITS | {"WEBHOOK_URL": url, "WEBHOOK_SECRET": f"whsec_{secret}"}


@contextmanager
def _receiver() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with TemporaryDirectory(prefix="trip-benchmark-") as folder:
        command = [sys.executable, "-m", "benchmarks.receiver", str(port)]
        log = Path(folder) / "receiver.log"
        receiver = Process("receiver", command, log, bare_environment(), ROOT)
        receiver.start()
        try:
            wait_until(lambda: _is_there(url), "the receiver is ready", 30)
            yield url
        finally:
            receiver.kill()


def _is_there(url: str) -> bool:
    try:
        return _ask(f"{url}/taken", "GET") == 0
    except OSError:
        return False


def _ask(url: str, method: str) -> int:
    request = urllib.request.Request(url, method=method)  # noqa: S310 - our own.
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own.
        return int(json.loads(answer.read() or "0"))


def _fill_events(stack: Stack, size: int) -> None:
    """Write events as transactions do that change the status of trips."""
    engine, now = sa.create_engine(stack.database_url), dt.datetime.now(dt.UTC)
    for begin in range(0, size, BATCH):
        rows = [
            {
                "event_id": f"outage-{number}",
                "trip_id": f"outage-{number}",
                "owner": "anonymous",
                "status": "booked",
                "sequence": 1,
                "at": now,
            }
            for number in range(begin, min(begin + BATCH, size))
        ]
        with engine.begin() as connection:
            connection.execute(events.insert(), rows)
    engine.dispose()


def _until_all(stack: Stack, size: int, condition: sa.ColumnElement[bool], what: str) -> None:
    of_outage = condition & events.c.event_id.like("outage-%")
    wait_until(lambda: count(stack, events, of_outage) == size, f"{size} events {what}", PATIENCE)
