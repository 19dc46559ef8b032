"""What it takes to have far more requests wait than Temporal lets a namespace have long polls."""

import asyncio
import itertools
import re
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load import Trip
from benchmarks.measure import Spread, peak_of
from benchmarks.reports import Effort, Report, Target
from benchmarks.stacks import NO_WAITS, Stack, project
from shared import KINDS
from tests.processes import Database, wait_until

APIS = 3

LONG_POLLS_OF_A_NAMESPACE = 1_200
"""What a frontend of Temporal's allows (`frontend.namespaceCount`)."""

PATIENCE = 1_200.0
"""Seconds. So long may a request wait: nobody is answered 202."""

SAMPLE_SECONDS = 2.0

BODY = vars(Trip())
RESULT = " ".join(f"Booked {kind}: {getattr(Trip(), kind)}" for kind in KINDS)

SERVERS_METRICS = re.compile(r"Temporal Metrics: +\S+:(\d+)/metrics")
POLLS = ("GetWorkflowExecutionHistory", "PollWorkflowExecutionHistory")


@dataclass
class _Most:
    """The most that was seen at once."""

    waiting: float = 0
    """Requests that wait, in all API processes together."""
    held: float = 0
    """Of these, those that hold a long poll."""
    at_server: float = 0
    """Long polls of workflows, as Temporal counts them."""
    missed: int = 0
    """Samples that a process which was busy did not answer in time."""
    over: threading.Event = field(default_factory=threading.Event)


def waiting_beyond_long_polls(effort: Effort) -> Report:
    """(l) Many `POST /book` open at three API processes, as many at each as at one."""
    count = APIS * effort.open_requests
    report = Report(f"{count} open POST /book over {APIS} API processes, no worker until all wait")
    databases: tuple[Database, ...] = ("sqlite", "postgresql")
    for database in databases:
        with project(database, NO_WAITS | {"BOOK_WAIT_SECONDS": f"{PATIENCE}"}) as stack:
            stack.scale(workers=1, apis=APIS)
            stack.scale(workers=0, apis=APIS)
            with ExitStack() as together, _most_at_once(stack) as most:
                peak = [together.enter_context(peak_of(api)) for api in stack.members()["api"]]
                threads = together.enter_context(ThreadPoolExecutor(1))
                booking = threads.submit(lambda: asyncio.run(_book(stack.api_urls, count)))
                wait_until(lambda: most.waiting == count, "all requests wait", PATIENCE)
                gathered = time.perf_counter()
                stack.scale(workers=2, apis=APIS)
                booked = booking.result()
                booked.seconds = time.perf_counter() - gathered
        _tell(report, database, count, booked, most)
        told = ", ".join(f"{each.mib:.0f} MiB" for each in peak)
        report.facts.append(f"{database}: the API processes at most {told}")
    return report


@dataclass
class _Booked:
    """How the bookings went."""

    seconds: float = 0.0
    """From the moment when all waited."""
    answers: Counter[str] = field(default_factory=Counter)
    """Each booking's last one."""
    repeated: Counter[int] = field(default_factory=Counter)
    """How many requests were to be sent again, by the status that said so."""


async def _book(urls: Sequence[str], count: int) -> _Booked:
    """Book so many trips at once, as clients are told to: who is to try again does, with its key.

    Where the record is SQLite, processes that write at once may find it locked.
    """
    booked = _Booked()
    deadline = aiohttp.ClientTimeout(total=PATIENCE)
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connections, timeout=deadline) as session:

        async def book(url: str) -> None:
            headers = {"Idempotency-Key": uuid.uuid4().hex}
            while True:
                try:
                    async with session.post(f"{url}/book", json=BODY, headers=headers) as answer:
                        body = await answer.json(content_type=None)
                except (aiohttp.ClientError, TimeoutError) as error:
                    booked.answers[repr(error)[:80]] += 1
                    return
                if answer.status not in (429, 503):
                    booked.answers[body.get("result", f"{answer.status} {body}"[:80])] += 1
                    return
                booked.repeated[answer.status] += 1
                await asyncio.sleep(int(answer.headers["Retry-After"]))

        async with asyncio.TaskGroup() as callers:
            for url in itertools.islice(itertools.cycle(urls), count):
                callers.create_task(book(url))
    return booked


def _tell(report: Report, database: Database, count: int, booked: _Booked, most: _Most) -> None:
    right = booked.answers[RESULT]
    report.facts += [
        f"{database}: {booked.seconds:.0f} s after all waited, all are answered: "
        f"{dict(booked.answers)}; sent again before: {dict(booked.repeated) or 'none'}",
        f"{database}: at once at most {most.waiting:.0f} waited, {most.held:.0f} of them at "
        f"Temporal, which saw {most.at_server:.0f}; {most.missed} samples missed",
    ]
    report.targets += [
        Target(f"{database}: booked", Spread.of([float(right)]), count, True),
        Target(f"{database}: waited at once", Spread.of([most.waiting]), count, True),
        Target(
            f"{database}: long polls that Temporal saw",
            Spread.of([most.at_server]),
            LONG_POLLS_OF_A_NAMESPACE,
            False,
        ),
    ]


@contextmanager
def _most_at_once(stack: Stack) -> Iterator[_Most]:
    """Sample how many wait, and how, until the end of the block."""
    most = _Most()
    match = SERVERS_METRICS.search(stack.temporal.output)
    server = f"http://127.0.0.1:{match[1]}" if match else ""

    def sample() -> None:
        while not most.over.wait(SAMPLE_SECONDS):
            try:
                waiting = [_read(url, "booking_places_in_use", place="wait") for url in urls]
                held = [_read(url, "booking_places_in_use", place="long_poll") for url in urls]
                at_server = sum(
                    _read(server, "service_pending_requests", namespace="default", operation=name)
                    for name in POLLS
                )
            except OSError:
                most.missed += 1
                continue
            most.waiting = max(most.waiting, sum(waiting))
            most.held = max(most.held, sum(held))
            most.at_server = max(most.at_server, at_server)

    urls = list(stack.api_urls)
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield most
    finally:
        most.over.set()
        sampler.join()


def _read(url: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with those labels. Raises `OSError`."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - our own.
        text = answer.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    )
