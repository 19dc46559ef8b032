"""What a run of chaos consists of: trips with their callers' whims, and faults, drawn by a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared import KINDS

ATTEMPTS = 10

FIRST_CROWD = 0.4
"""So great a share of the callers comes before the first fault."""

Cancel = Literal[
    "never",
    "under way, by Temporal",
    "under way, by API",
    "in doubt",
    "once booked",
    "once forgotten",
]
"""`in doubt`: as soon as some call has failed."""

Hold = Literal["no", "confirmed", "left"]
"""Whether a trip is to be held, and what its caller does then. `left`: nothing, so it expires."""

HOLD_SECONDS = 60
"""The shortest hold that the API knows."""

PLACES = 5
SCARCE = {
    "car": f"valid-{PLACES}-cars",
    "hotel": f"valid-{PLACES}-rooms",
    "flight": f"valid-{PLACES}-seats",
}
"""What many want and few get."""

ODD = (
    *("late", "late", "late", "lost-answer", "flaky", "slow", "busy"),
    *("pending", "pending-sold-out", "slow-to-cancel"),
)
"""Words of the simulator's items that make a booking difficult. None needs an operator."""

DOUBTING = 0.25
"""So great a share of the callers cancels while a late booking is on its way, perhaps."""


@dataclass(frozen=True)
class PlannedTrip:
    """One caller: what they want, when they ask for it, and whether they think better of it."""

    name: str
    items: dict[str, str]
    comes_before: int
    """The number of the fault."""
    asks_after: float
    """Seconds after the fault before that one was over."""
    hold: Hold
    cancel: Cancel
    cancel_after: float
    forgotten: bool
    """Whether Temporal is made to forget the trip's workflow once it has closed."""

    @property
    def headers(self) -> dict[str, str]:
        """What makes a request one of this trip."""
        return {"Idempotency-Key": self.name.replace(" ", "-")}

    @property
    def body(self) -> dict[str, object]:
        """The request."""
        hold = {} if self.hold == "no" else {"hold_seconds": HOLD_SECONDS}
        return {"name": self.name, "attempts": ATTEMPTS, **self.items, **hold}

    @property
    def other_body(self) -> dict[str, object]:
        """Another request than this trip's."""
        return self.body | {"car": "valid-other-car"}


@dataclass(frozen=True)
class PlannedFault:
    """One fault: its kind, its moment, how long it lasts and which worker it strikes."""

    kind: str
    after: float
    """Seconds after the previous fault was over."""
    lasts: float
    worker: int


def plan_trips(
    chance: random.Random, count: int, faults: int, outside: bool = False
) -> list[PlannedTrip]:
    """Return a crowd that comes at once, and callers who come before each of the faults.

    `outside`: the suppliers are the simulated ones, which have more than one way to be difficult.
    """
    cancels: list[Cancel] = [
        "under way, by Temporal",
        "under way, by API",
        "once booked",
        "once forgotten",
        "never",
    ]
    holds: list[Hold] = ["no", "confirmed", "left"]
    trips = []
    for number in range(count):
        items: dict[str, str] = {kind: f"valid-{kind}-{number}" for kind in KINDS}
        if outside:
            items = {kind: _perhaps_odd(chance, kind, item) for kind, item in items.items()}
        if chance.random() < (0.1 if outside else 0.25):
            items[chance.choice(KINDS)] = f"invalid-{number}"
        cancel: Cancel = chance.choices(cancels, [10, 10, 10, 10, 60])[0]
        cancel_after = chance.uniform(0, 4)
        if outside and chance.random() < DOUBTING:
            items["car"] = f"late-{number}"
            cancel, cancel_after = "in doubt", chance.uniform(0, 0.5)
        # Embedded suppliers hold for the whole minute, which is longer than a run.
        hold = chance.choices(holds, [60, 25, 15 if outside else 0])[0]
        trips.append(
            PlannedTrip(
                name=f"Traveller {number}",
                items=items,
                comes_before=0 if number < FIRST_CROWD * count else chance.randrange(faults),
                asks_after=chance.uniform(0, 1.5),
                hold=hold,
                cancel=cancel,
                cancel_after=cancel_after,
                forgotten=chance.random() < 0.5,
            )
        )
    return trips


def _perhaps_odd(chance: random.Random, kind: str, item: str) -> str:
    draw = chance.random()
    if draw < 0.1:
        return SCARCE[kind]
    return f"{item}-{chance.choice(ODD)}" if draw < 0.4 else item


def plan_faults(
    chance: random.Random, seconds: float, always: Sequence[str], others: Sequence[str] = ()
) -> list[PlannedFault]:
    """Return faults for so many seconds, and at least one of each kind that is caused `always`."""
    faults: list[PlannedFault] = []
    while True:
        for kind in chance.sample(always, len(always)) + chance.sample(others, len(others)):
            planned = sum(fault.after + fault.lasts for fault in faults)
            if planned >= seconds and len(faults) >= len(always):
                return faults
            after, lasts = chance.uniform(0.5, 2.5), chance.uniform(0, 2)
            faults.append(PlannedFault(kind, after, lasts, chance.randrange(2)))
