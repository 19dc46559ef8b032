"""What a run of chaos tells: what became of the trips, by the faults that struck them."""

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.agreement import Agreement
from tests.chaos.asking import Ending

FAILED_CALL = re.compile(r"The \w+ supplier (?:broke the contract|answered \d|cannot be reached)")
"""What a worker writes of a call that was broken."""


def of_faults(
    faults: Sequence[tuple[str, dt.datetime]], endings: Sequence[Ending]
) -> Iterator[str]:
    """Tell, for each kind of fault, how many trips ran at the moments when it struck.

    A trip's delay is the time from the fault to the trip's end.
    """
    moments: dict[str, list[dt.datetime]] = defaultdict(list)
    for kind, moment in faults:
        moments[kind].append(moment)
    row = "{:36} {:>5} {:>13} {:>13}".format
    yield row("fault", "times", "trips running", "longest delay")
    for kind, struck in moments.items():
        delays = [
            (ending.closed - moment).total_seconds()
            for moment in struck
            for ending in endings
            if ending.began < moment < ending.closed
        ]
        yield row(kind, len(struck), len(delays), f"{max(delays, default=0.0):.1f} s")


def of_all(agreement: Agreement, seconds: float) -> Iterator[str]:
    """Tell what became of all trips, and what was wrong."""
    logs = "".join(worker.log.read_text() for worker in agreement.service.workers)
    counts = {
        **dict(sorted(agreement.statuses.items())),
        "cancellations through the API": len(agreement.cancelled),
        "holds confirmed through the API": sum(agreement.confirmed.values()),
        "late tries refused": logs.count("was undone already"),
        "calls of suppliers failed": len(FAILED_CALL.findall(logs)),
        "workflows forgotten": len(agreement.forgotten),
        "cancelled while the ending was recorded": len(agreement.cancelled_at_the_end),
        "trips mended by the workers' audits": logs.count("Audit: trip"),
        "audits by the schedule": sum(bool(ended) for ended, _ in agreement.audits),
        "events received": len(agreement.receiver.taken),
        "calls of the webhook failed": agreement.receiver.failed,
        "seconds": round(seconds),
    }
    yield "; ".join(f"{count} {what}" for what, count in counts.items())
    for violation, what, how in agreement.violations:
        yield f"VIOLATION {violation}: {what} {how}"
    kinds = Counter(violation for violation, _, _ in agreement.violations)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield f"{len(agreement.planned)} trips, {kinds.total()} violations {told}".rstrip()
