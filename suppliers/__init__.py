"""Who really books: the port, the desks before it, and the suppliers that implement it."""

from suppliers.composition import Composition, compose, composed, composition
from suppliers.desk import Desk, Desks, OutsideDesk, RecordAway, Try, Undecided
from suppliers.embedded import EmbeddedSupplier
from suppliers.observed import Observer
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
from suppliers.tries import SupplierFailed, SupplierRefused, ask_supplier, this_try

__all__ = [
    "AnotherItem",
    "Composition",
    "Confirmed",
    "Desk",
    "Desks",
    "EmbeddedSupplier",
    "FollowCall",
    "HttpSupplier",
    "Observer",
    "OutcomeUnknown",
    "OutsideDesk",
    "Pending",
    "RecordAway",
    "Refused",
    "Released",
    "Supplier",
    "SupplierError",
    "SupplierFailed",
    "SupplierRefused",
    "Try",
    "TryAgain",
    "Unavailable",
    "Undecided",
    "ask_supplier",
    "compose",
    "composed",
    "composition",
    "this_try",
]
