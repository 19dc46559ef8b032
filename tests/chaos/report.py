"""What a run of chaos tells: what became of the trips, by faults and by modes of the suppliers."""

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.agreement import Agreement
from tests.chaos.asking import Ending, Violation

Faulted = Sequence[tuple[str, dt.datetime]]
"""The faults that were caused, with their moments."""

WRONG_AT_SUPPLIERS: tuple[Violation, ...] = ("held twice", "left at the supplier", "oversold")

FAILED_CALL = re.compile(r"The \w+ supplier (?:broke the contract|answered \d|cannot be reached)")
"""What a worker writes of a call that was broken."""


def of_faults(agreement: Agreement, faults: Faulted, endings: Sequence[Ending]) -> Iterator[str]:
    """Tell, for each kind of fault, what became of the trips that ran when it struck.

    A trip's delay is the time from the fault to the trip's end.
    """
    struck: dict[str, list[list[tuple[Ending, float]]]] = defaultdict(list)
    for kind, moment in faults:
        struck[kind].append(
            [
                (ending, (ending.closed - moment).total_seconds())
                for ending in endings
                if ending.began < moment < ending.closed
            ]
        )
    row = "{:36} {:>5} {:>13} {:>4} {:>11} {:>13} {:>12} {:>13}".format
    wrongs = ("lost", "half-booked", "double-booked", "held wrongly")
    yield row("fault", "times", "trips running", *wrongs, "longest delay")
    for kind, times in struck.items():
        running = [trip for trips in times for trip in trips]
        ids = {trip.workflow_id for trip, _ in running}
        ids |= {agreement.trips[trip_id].name for trip_id in ids}
        counts = _count(
            violation for violation, subject, _ in agreement.violations if subject in ids
        )
        longest = max((delay for _, delay in running), default=0.0)
        yield row(kind, len(times), len(running), *counts, f"{longest:.1f} s")
    counts = _count(violation for violation, _, _ in agreement.violations)
    yield row("all trips", len(faults), len(endings), *counts, "")


def of_all(agreement: Agreement, endings: Sequence[Ending], seconds: float) -> Iterator[str]:
    """Tell what became of all trips, and what was wrong."""
    ends = Counter(ending.status for ending in endings)
    late = sum(log.count("was undone already") for log in _logs(agreement))
    mended = sum(log.count("Audit: trip") for log in _logs(agreement))
    yield (
        f"{', '.join(f'{count} {status}' for status, count in sorted(ends.items()))};"
        f" {len(agreement.cancelled)} cancellations through the API; {late} late tries refused;"
        f" {len(agreement.forgotten)} workflows forgotten;"
        f" {len(agreement.cancelled_at_the_end)} cancelled while the ending was recorded;"
        f" {mended} trips mended by the workers' audits;"
        f" {sum(bool(ended) for ended, _ in agreement.audits)} audits by the schedule;"
        f" {seconds:.0f} s"
    )
    for violation, what, how in agreement.violations:
        yield f"VIOLATION {violation}: {what} {how}"


@dataclass(frozen=True)
class Summary:
    """What a run at suppliers of some mode has come to. `what` names the run."""

    what: str
    trips: int
    statuses: Counter[str]
    failed_calls: int
    violations: Counter[str]

    @classmethod
    def of(cls, agreement: Agreement, what: str) -> "Summary":
        """Sum up a run that is over."""
        return cls(
            what,
            len(agreement.planned),
            agreement.statuses,
            sum(len(FAILED_CALL.findall(log)) for log in _logs(agreement)),
            Counter(violation for violation, _, _ in agreement.violations),
        )


def of_modes(summaries: Iterable[Summary]) -> Iterator[str]:
    """Tell what became of the trips of each run. A failed call is one that a worker saw fail."""
    row = "{:30} {:>5} {:>6} {:>11} {:>9} {:>12} {:>10}".format
    statuses = ("booked", "rolled_back", "cancelled")
    yield row("suppliers", "trips", *statuses, "failed calls", "violations")
    for each in summaries:
        ends = (each.statuses[status] for status in statuses)
        told = row(each.what, each.trips, *ends, each.failed_calls, each.violations.total())
        kinds = ", ".join(f"{count} {kind}" for kind, count in each.violations.items())
        yield f"{told} {kinds}".rstrip()


def _count(violations: Iterable[Violation]) -> tuple[int, int, int, int]:
    wrong = Counter(violations)
    at_suppliers = sum(wrong[violation] for violation in WRONG_AT_SUPPLIERS)
    return wrong["lost"], wrong["half-booked"], wrong["double-booked"], at_suppliers


def _logs(agreement: Agreement) -> list[str]:
    return [worker.log.read_text() for worker in agreement.service.workers]
