"""What open holds cost, and whether they expire in time."""

import datetime as dt
import time

import sqlalchemy as sa

from benchmarks.load import Trip, through_http
from benchmarks.measure import MIB, Spread, count, cpu_seconds, warm_up
from benchmarks.reports import Effort, Report, Target
from benchmarks.stacks import Stack, project
from record.tables import trips
from tests.processes import wait_until

HOLDS = 10_000

AT_ONCE = 50
"""How many are asked for at the same time, at most."""

HELD_FOR = 600
"""Seconds. So many holds are asked for evenly in this time: all are open once, when it is over."""

PATIENCE = 900.0
"""Seconds after which all have expired that are held."""


def open_holds(effort: Effort) -> Report:
    """(i) Ten thousand open holds on one worker: memory, and how late they expire."""
    report = Report("Open holds on one worker")
    size, seconds = round(HOLDS * effort.share), max(60, round(HELD_FOR * effort.share))
    with project() as stack:
        warm_up(stack)
        before, spent, began = _memory(stack), cpu_seconds(stack), time.monotonic()
        trip = Trip(hold_seconds=seconds)
        load = through_http(stack.api_urls, trip, size, AT_ONCE, size / seconds)
        took, all_open = time.monotonic() - began, count(stack, trips, trips.c.status == "held")
        after, held_at = _memory(stack), cpu_seconds(stack)
        expired = trips.c.status == "expired"
        wait_until(
            lambda: count(stack, trips, expired) == size, "all have expired", PATIENCE + seconds
        )
        ended = cpu_seconds(stack)
        late = _lateness(stack)
    for role in ("worker", "server"):
        report.facts.append(
            f"memory of the {role}: {before[role]:.0f} MiB, with {all_open} open holds "
            f"{after[role]:.0f} MiB"
        )
        per_hold = [(held_at[role] - spent[role]) / size, (ended[role] - held_at[role]) / size]
        report.facts.append(
            f"CPU of the {role}: {per_hold[0] * 1000:.1f} ms to hold a trip, "
            f"{per_hold[1] * 1000:.1f} ms to let it expire"
        )
    report.facts.append(f"{size} held in {took:.0f} s, {sum(load.errors.values())} errors")
    report.targets = [Target("the last one expires late by", late, 60, False, " s")]
    return report


def _memory(stack: Stack) -> dict[str, float]:
    return {
        role: sum(each.memory_info().rss for each in members) / MIB
        for role, members in stack.members().items()
    }


def _lateness(stack: Stack) -> Spread:
    """Return the latest, as a median, and the range of all."""
    engine = sa.create_engine(stack.database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(trips.c.closed_at, trips.c.expires_at).where(trips.c.status == "expired")
        ).all()
    engine.dispose()
    late = [(row.closed_at - row.expires_at) / dt.timedelta(seconds=1) for row in rows]
    return Spread(max(late), min(late), max(late))
