"""What a trip costs Temporal where it can be counted: actions, requests, writes, history.

Temporal's server counts the actions itself, by the rules of Temporal Cloud, and tells them with its
metrics. https://docs.temporal.io/cloud/migrate/estimate-actions
"""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from audit.__main__ import audit
from benchmarks.actions import actions_in
from benchmarks.load import Trip, through_http
from benchmarks.reports import Effort, Report
from benchmarks.stacks import NO_WAITS, SIMULATED_WAITS, Stack, project
from benchmarks.storing import kept
from settings import Settings
from tests.processes import ROOT, free_port

AT_ONCE = 5

CALM = 2.0
"""Seconds after which all is done that a trip leaves to be done after its answer."""

WRITES = ("CreateWorkflowExecution", "UpdateWorkflowExecution", "ConflictResolveWorkflowExecution")

VALID = {"name": "Bench Mark", "car": "valid-car", "hotel": "valid-hotel", "flight": "valid-flight"}


class Kind(NamedTuple):
    """A kind of trip: what it asks for, and what becomes of it."""

    name: str
    changes: dict[str, str]
    cancelled: bool = False


BOOKED = Kind("booked", {})
AT_REST = [
    BOOKED,
    Kind("rolled back, no such hotel", {"hotel": "invalid-hotel"}),
    Kind("rolled back, no such flight", {"flight": "invalid-flight"}),
    Kind("booked and cancelled later", {}, cancelled=True),
]
OUTAGE = Kind("booked, hotel down at first", {})
OUTSIDE = [
    Kind("booked over HTTP", {}),
    Kind("the hotel decides later", {"hotel": "pending-hotel"}),
]


@dataclass(frozen=True)
class Counts:
    """What has been counted so far, since the processes started."""

    actions: Counter[str]
    requests: Counter[str]
    writes: int


def counted(effort: Effort) -> Report:
    """(n) What a trip costs, counted; what it leaves in the record; how long an audit takes."""
    report = Report("What a trip costs, counted")
    trips = max(10, round(40 * effort.share))
    sources = [ROOT] if effort.beside == ROOT else [ROOT, effort.beside]
    for source in sources:
        report.facts.append(f"of {source.name}:")
        with _measured(source, NO_WAITS) as (stack, counts):
            report.facts += [_line(stack, counts, kind, trips) for kind in AT_REST]
            report.facts += _requests(counts, stack, trips)
            if source == ROOT:
                report.facts.append(_audited(stack, round(1_000 * effort.share)))
        with _measured(source, SIMULATED_WAITS) as (stack, counts):
            report.facts.append(_line(stack, counts, OUTAGE, trips))
        if source == ROOT:
            with _measured(source, NO_WAITS, suppliers=True) as (stack, counts):
                report.facts += [_line(stack, counts, kind, trips) for kind in OUTSIDE]
    report.facts += kept(round(10_000 * effort.share))
    return report


def bytes_of_history(stack: Stack, trips: int) -> float:
    """Book so many trips, and return how many bytes the history of one has on average."""
    _, size, _ = asyncio.run(_histories(stack, _book(stack, BOOKED, trips), cancelled=False))
    return size


@contextmanager
def _measured(
    source: Path, settings: dict[str, str], *, suppliers: bool = False
) -> Iterator[tuple[Stack, Callable[[], Counts]]]:
    """Yield a stack, and what tells what was counted in it."""
    port = free_port()
    options = ("--metrics-port", str(port))
    with project(
        settings=settings, source=source, suppliers=suppliers, server_options=options
    ) as stack:
        _book(stack, BOOKED, 10)  # What is done once is done now.

        def counts() -> Counts:
            time.sleep(CALM)
            return _counts(port)

        yield stack, counts


def _line(stack: Stack, counts: Callable[[], Counts], kind: Kind, trips: int) -> str:
    """Have so many trips of a kind, and tell what one has cost."""
    before = counts()
    ids = _book(stack, kind, trips)
    after = counts()
    events, size, told = asyncio.run(_histories(stack, ids, cancelled=kind.cancelled))
    billed = after.actions - before.actions
    names = ", ".join(f"{name} {count / trips:g}" for name, count in sorted(billed.items()))
    parts = {
        f"actions ({names}), by its history {told:g}": billed.total() / trips,
        "events": events,
        "bytes of history": size,
        "RPCs": (after.requests - before.requests).total() / trips,
        "state transitions": (after.writes - before.writes) / trips,
    }
    return f"  {kind.name}: " + "; ".join(
        f"{round(count, 1):g} {of}" for of, count in parts.items()
    )


def _requests(counts: Callable[[], Counts], stack: Stack, trips: int) -> list[str]:
    before = counts().requests
    _book(stack, BOOKED, trips)
    asked = counts().requests - before
    told = ", ".join(f"{name} {count / trips:.1f}" for name, count in asked.most_common())
    return [f"  RPCs of a booked trip: {told}"]


def _audited(stack: Stack, trips: int) -> str:
    """Tell how fast an audit compares trips that are over: so many more, and those before."""
    through_http(stack.api_urls, Trip(), trips, 50)
    settings = Settings(
        database_url=stack.database_url, hotel_latency_seconds=0, hotel_outage_attempts=0
    )
    began = time.perf_counter()
    found = asyncio.run(audit(settings, {"target_host": stack.temporal_address}, everything=True))
    seconds = time.perf_counter() - began
    return f"  an audit of {found.trips} trips: {found.trips / seconds:.0f} trips a second"


def _book(stack: Stack, kind: Kind, trips: int) -> list[str]:
    """Book so many trips, some at once, and return their ids."""

    def book(_: int) -> str:
        trip = _ask(stack, "/book", VALID | kind.changes)["user_id"]
        if kind.cancelled:
            _ask(stack, f"/bookings/{trip}/cancel", {})
        while _ask(stack, f"/bookings/{trip}")["status"] == "running":
            time.sleep(0.5)
        return trip

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(book, range(trips)))


def _ask(stack: Stack, path: str, body: object = None) -> dict[str, str]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - it is our own address.
        stack.api_urls[0] + path, content, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        told: dict[str, str] = json.load(answer)
    return told


async def _histories(
    stack: Stack, ids: list[str], *, cancelled: bool
) -> tuple[float, float, float]:
    """Return the events, bytes and actions that the histories of a trip have, on average."""
    client = await Client.connect(stack.temporal_address)
    events = size = actions = 0
    workflows = [*ids, *(f"cancellation:{trip}" for trip in ids)] if cancelled else ids
    for workflow in workflows:
        handle = client.get_workflow_handle(workflow)
        info = (await handle.describe()).raw_description.workflow_execution_info
        events += info.history_length
        size += info.history_size_bytes
        actions += actions_in((await handle.fetch_history()).events).total()
    return events / len(ids), size / len(ids), actions / len(ids)


def _counts(port: int) -> Counts:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    actions: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    writes = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            operation = sample.labels.get("operation", "")
            of_namespace = sample.labels.get("namespace") == "default"
            if sample.name == "action_total" and of_namespace:
                actions[sample.labels["action_type"].partition("_")[2]] += int(sample.value)
            elif sample.name == "service_requests_total" and of_namespace:
                if sample.labels["service_name"] == "frontend":
                    requests[operation] += int(sample.value)
            elif sample.name == "persistence_requests_total" and operation in WRITES:
                writes += int(sample.value)
    return Counts(actions, requests, writes)
