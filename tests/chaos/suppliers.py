"""The suppliers of a run of chaos: in which way they are difficult, and what they must hold.

They are the simulated ones; what they hold is asked of them, and compared with the record's rows.
"""

import json
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared import KINDS
from tests.chaos.asking import Violation
from tests.chaos.plans import PLACES, SCARCE
from tests.processes import Process, Service, supplier_urls

Mode = Literal["keeps", "no-idempotency", "no-tombstones", "neither"]
"""Which of the contract's promises the suppliers keep. `keeps`: both."""

MODES: tuple[Mode, ...] = get_args(Mode)

BROKEN = 0.3
"""Share of the calls that are broken."""

LATE = 3.0
"""Seconds after which a late booking takes effect."""

SLOW = 0.5
"""Seconds that the slow ones take."""

PENDING = 2.0
"""Seconds that the undecided ones take."""

TRY_TIMEOUT = 1.5
"""Seconds that the service waits for an answer."""

FROZEN = 1.7
"""Seconds, and a quarter of the fault's own more, that the suppliers are frozen: longer than the
service waits for an answer."""

LATE_AT_MOST = FROZEN + 0.5 + SLOW + LATE
"""Seconds after its call has ended that a booking may take effect: sent when the suppliers froze,
and broken off at once; of a slow item; and then late."""

MARGIN = 1.3
"""Seconds that a busy machine may add to that."""

SETTLED_WITHIN = SLOW + LATE + PENDING + 1.0
"""Seconds after its call by which all has come of it that ever will, while they are not frozen."""

LONGEST_HOLD = 20.0
"""Seconds for which they hold at the most."""

HELD = ("held", "confirmed", "pending", "cancelling")
"""States in which a place is taken."""


@dataclass(frozen=True)
class AtSupplier:
    """A reservation, as a supplier has it."""

    kind: str
    trip_id: str
    item: str | None
    state: str
    reference: str | None


Finding = tuple[Violation, str, str]


class Suppliers:
    """The simulated suppliers of one service."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._base = f"http://127.0.0.1:{port}"

    @classmethod
    def of(cls, running: Service, port: int, mode: Mode, seed: int) -> "Suppliers":
        """Return those of a service, not yet started."""
        options: dict[str, object] = {
            "--port": port,
            "--faults": BROKEN,
            "--seed": seed,
            "--late-seconds": LATE,
            "--slow-seconds": SLOW,
            "--pending-seconds": PENDING,
            "--longest-hold": LONGEST_HOLD,
        }
        words = [str(word) for option in options.items() for word in option]
        if mode in ("no-idempotency", "neither"):
            words.append("--no-idempotency")
        if mode in ("no-tombstones", "neither"):
            words.append("--no-tombstones")
        return cls(running.simulated_suppliers(*words), port)

    def start(self) -> None:
        """Start them, and wait until they listen."""
        self.process.start()
        self.process.wait_for_output("Suppliers at")

    def end_faults(self) -> None:
        """Have no call broken any more."""
        self._ask("DELETE", "/faults")

    def held(self) -> list[AtSupplier]:
        """Return all they have, also what was cancelled, and what is booked late."""
        return [AtSupplier(**row) for row in self._ask("GET", "/reservations")]

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self._base + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def settings(port: int, mode: Mode) -> dict[str, object]:
    """Return the service's settings for suppliers of this mode, which listen on `port`."""
    chosen: dict[str, object] = {"TRY_TIMEOUT_SECONDS": TRY_TIMEOUT, "UNDO_ATTEMPTS": 10}
    chosen |= supplier_urls(port)
    if mode != "keeps":
        late = LATE_AT_MOST + MARGIN
        chosen |= {f"{kind.upper()}_SUPPLIER_LATE_SECONDS": late for kind in KINDS}
    return chosen


def compare(
    wanted: Mapping[str, Mapping[str, str]],
    recorded: Mapping[tuple[str, str], str | None],
    held: Iterable[AtSupplier],
) -> Iterator[Finding]:
    """Find what suppliers hold that they should not, and what they do not hold that they should.

    `wanted` has the items of each trip: those of a booked one, none of any other. `recorded` has
    the references that the record keeps, by trip and kind.
    """
    places: Counter[tuple[str, str]] = Counter()
    by_step: dict[tuple[str, str], list[AtSupplier]] = defaultdict(list)
    for row in held:
        if row.trip_id not in wanted:
            yield "other", row.trip_id, f"was asked for by nobody: {row}"
        if row.state != "cancelled":
            by_step[row.trip_id, row.kind].append(row)
        if row.state in HELD:
            places[row.kind, row.item or ""] += 1
    for trip_id, items in wanted.items():
        for kind in KINDS:
            rows = by_step[trip_id, kind]
            reference = recorded.get((trip_id, kind))
            yield from _compare_step(trip_id, kind, items.get(kind), reference, rows)
    for (supplier, item), taken in places.items():
        if item in SCARCE.values() and taken > PLACES:
            yield "oversold", f"{supplier} {item}", f"is held {taken} times"


def _compare_step(
    trip_id: str, kind: str, item: str | None, reference: str | None, rows: list[AtSupplier]
) -> Iterator[Finding]:
    if item is None:
        if rows:
            yield "left at the supplier", trip_id, f"is not booked, and has {rows}"
        return
    confirmed = [row for row in rows if row.state == "confirmed"]
    if len(confirmed) > 1:
        yield "held twice", trip_id, f"is booked, and has {rows}"
        return
    if confirmed != [AtSupplier(kind, trip_id, item, "confirmed", reference)]:
        yield "half-booked", trip_id, f"is booked as {kind} {item} ({reference}), and has {rows}"
    if len(rows) > len(confirmed):
        yield "left at the supplier", trip_id, f"is booked, and has {rows}"
