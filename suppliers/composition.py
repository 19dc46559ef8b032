"""The record and the desks that a process works with, as its settings say."""

import functools
from asyncio import Semaphore
from collections.abc import Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from typing import NamedTuple

from record import Record
from settings import Settings, load_settings
from shared import KINDS, Kind, SagaPolicy
from suppliers.desk import OutsideDesk
from suppliers.embedded import EmbeddedSupplier
from suppliers.observed import Observer
from suppliers.over_http import FollowCall, HttpSupplier
from suppliers.port import Supplier

Desk = EmbeddedSupplier | OutsideDesk
"""Books one kind of item. Its calls raise `Refused`, `TryAgain`, `Undecided` and `RecordAway`."""

Desks = Mapping[Kind, Desk]
"""Where each kind is booked."""


class Composition(NamedTuple):
    """What the activities work with."""

    record: Record
    desks: Desks
    policy: SagaPolicy

    async def close(self) -> None:
        """Close the connections to the suppliers."""
        for desk in self.desks.values():
            await desk.close()


composition: ContextVar[Composition] = ContextVar("composition")
"""The worker sets it at its start, and each test for itself."""


def composed() -> Composition:
    """Return what the process has set, or else what the settings say."""
    return composition.get(None) or _composed_from_settings()


@functools.cache
def _composed_from_settings() -> Composition:
    settings = load_settings()
    return compose(Record.connect(settings.database_url.get_secret_value()), settings)


def compose(
    record: Record,
    settings: Settings,
    observer: Observer | None = None,
    follow_call: FollowCall = nullcontext,
) -> Composition:
    """Return what the activities work with, as the settings say.

    An observer is told of each call of a supplier; `follow_call` surrounds each one over HTTP.
    """
    desks = {kind: _desk(kind, record, settings, observer, follow_call) for kind in KINDS}
    return Composition(record, desks, settings.saga_policy)


def _desk(
    kind: Kind,
    record: Record,
    settings: Settings,
    observer: Observer | None,
    follow_call: FollowCall,
) -> Desk:
    """Return the desk of `kind`. A supplier class of your own goes here."""
    outside = settings.suppliers[kind]
    if outside.url is not None:
        secrets = outside.token, outside.proxy
        token, proxy = (None if each is None else each.get_secret_value() for each in secrets)
        most = outside.connections
        supplier: Supplier = HttpSupplier(kind, outside.url, token, most, follow_call, proxy)
        places = Semaphore(most) if most else nullcontext()
        late = outside.late_seconds
        return OutsideDesk(kind, supplier, record, outside.url, late, observer, places)
    latency, outage = 0.0, 0
    if kind == "hotel":
        latency, outage = settings.hotel_latency_seconds, settings.hotel_outage_attempts
    return EmbeddedSupplier(kind, record, latency, outage, observer)
