"""Who really books: the port, the desks before it, and the suppliers that implement it."""

from suppliers.desk import Desk, Desks, OutsideDesk, Undecided
from suppliers.embedded import EmbeddedSupplier
from suppliers.observed import ObservedEmbedded, ObservedSupplier, Observer
from suppliers.over_http import FollowCall, HttpSupplier
from suppliers.port import (
    AnotherItem,
    Confirmed,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    Supplier,
    SupplierError,
    TryAgain,
    Unavailable,
)

__all__ = [
    "AnotherItem",
    "Confirmed",
    "Desk",
    "Desks",
    "EmbeddedSupplier",
    "FollowCall",
    "HttpSupplier",
    "ObservedEmbedded",
    "ObservedSupplier",
    "Observer",
    "OutcomeUnknown",
    "OutsideDesk",
    "Pending",
    "Refused",
    "Released",
    "Supplier",
    "SupplierError",
    "TryAgain",
    "Unavailable",
    "Undecided",
]
