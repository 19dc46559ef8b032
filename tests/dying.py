"""A process of the service that dies at one moment, which the variable DIE_AT names.

    DIE_AT=accepted python tests/dying.py

It is the real process; only the one step before which, or after which, it dies is wrapped.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import run_worker
import starter
from bookings import TripWorkflows
from record import Reservations, Trips
from record.outside import OutsideReservations
from suppliers.over_http import HttpSupplier

Step = Callable[..., Awaitable[Any]]


def dies_before(step: Step) -> Step:
    async def die(*arguments: Any) -> None:
        os._exit(9)

    return die


def dies_after(step: Step) -> Step:
    async def do_and_die(*arguments: Any) -> None:
        await step(*arguments)
        os._exit(9)

    return do_and_die


MOMENTS: dict[str, tuple[type, str, Callable[[Step], Step], Callable[[], None]]] = {
    "accepted": (TripWorkflows, "start", dies_before, starter.main),
    "started": (TripWorkflows, "start", dies_after, starter.main),
    "to be cancelled": (TripWorkflows, "start_cancellation", dies_before, starter.main),
    "reserved": (Reservations, "reserve", dies_after, run_worker.main),
    "ended": (Trips, "tell", dies_before, run_worker.main),
    "confirming": (HttpSupplier, "confirm", dies_before, run_worker.main),
    "confirmed": (HttpSupplier, "confirm", dies_after, run_worker.main),
    "noted": (OutsideReservations, "confirm", dies_after, run_worker.main),
    "held": (Trips, "tell_held", dies_after, run_worker.main),
    "recorded": (Trips, "tell", dies_after, run_worker.main),
}

if __name__ == "__main__":
    owner, name, wrap, main = MOMENTS[os.environ["DIE_AT"]]
    setattr(owner, name, wrap(getattr(owner, name)))
    main()
