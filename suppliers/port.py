"""The port that each supplier implements: what it is asked, and what it may answer.

It knows nothing of Temporal, of HTTP, of the saga or of the record.
"""

from dataclasses import dataclass
from typing import Protocol

from shared import BookVacationInput, Price


@dataclass(frozen=True)
class Confirmed:
    """The trip's item is held."""

    reference: str | None = None
    """The supplier's own name for the booking, for a question by telephone."""
    price: Price | None = None


@dataclass(frozen=True)
class Held:
    """The trip's item is held for `seconds`, for `confirm` to book it."""

    seconds: float
    price: Price | None = None


@dataclass(frozen=True)
class Quoted:
    """The trip's item is not held, as this supplier holds nothing. It can be booked."""

    price: Price | None = None


@dataclass(frozen=True)
class Pending:
    """The supplier has not decided yet; `find` tells once it has."""

    wait: float | None = None
    """Seconds after which it wants to be asked again."""


@dataclass(frozen=True)
class Released:
    """Nothing is held, because it was cancelled, or was held and has expired."""

    refund: Price | None = None


Booking = Confirmed | Held | Quoted | Pending
"""What may come of a trip's item."""


class SupplierError(Exception):
    """The base of all errors that a supplier may raise.

    Travellers read the text: it has no address, credential or traceback.
    """


class Refused(SupplierError):
    """The supplier's final word: no later try can succeed."""


class TryAgain(SupplierError):
    """This try has failed; a later one may succeed, after `wait` seconds if there are any."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Unavailable(TryAgain):
    """The call has changed nothing: it never reached the supplier, or was turned away."""


class OutcomeUnknown(TryAgain):
    """The call may have taken effect, or may do so a little later; nobody can tell."""


class AnotherItem(OutcomeUnknown):
    """The supplier holds another item for the trip than the one that was asked for."""


class Supplier(Protocol):
    """Books one kind of item.

    A trip is known by its `book_user_id`, and wants `trip.item(kind)`. The service makes each call
    at least once, sometimes twice at the same time, sometimes late. It cancels a call that takes
    longer than the trip's `policy.try_timeout`. Any exception but a `SupplierError` counts as an
    unknown outcome, and its text goes to the logs only.
    """

    async def book(self, trip: BookVacationInput, attempt: int) -> Booking:
        """Book the trip's item, or hold it for `trip.hold_seconds` if it has any.

        `attempt` is the number of the try, from 1. Who cannot hold answers `Quoted`, or books.
        Raises `Refused`, also when the trip's reservation was cancelled before or is for another
        item; `Unavailable`; `OutcomeUnknown`.
        """

    async def confirm(self, trip: BookVacationInput) -> Confirmed | Pending:
        """Book what is held for the trip, for good.

        Raises `Refused`, also when the hold has expired; `Unavailable`; `OutcomeUnknown`.
        """

    async def cancel(self, trip: BookVacationInput) -> Released | Pending:
        """Release whatever the trip holds, and refuse every later `book` of it.

        Raises `Refused` when it cannot be released, `Unavailable` and `OutcomeUnknown`.
        """

    async def find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        """Tell what the trip holds; `None` if the supplier knows nothing of it.

        Raises `Unavailable`, `OutcomeUnknown` and, if it can tell, `AnotherItem`.
        """

    async def close(self) -> None:
        """Close what is open; nothing is asked any more."""
