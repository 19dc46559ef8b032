"""The suppliers, who really book: their port, the desks before it, and what implements it."""

from suppliers.composition import Desk, Desks, compose, composed, composition
from suppliers.desk import OutsideDesk, RecordAway, Try, Undecided
from suppliers.embedded import EmbeddedSupplier
from suppliers.over_http import HttpSupplier
from suppliers.port import (
    AnotherItem,
    Booking,
    Confirmed,
    Held,
    OutcomeUnknown,
    Pending,
    Quoted,
    Refused,
    Released,
    Supplier,
    SupplierError,
    TryAgain,
    Unavailable,
)
from suppliers.tries import ask_supplier, this_try
