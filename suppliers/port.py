"""What the service asks of a supplier, and what it may hear: the port that each one implements.

It knows nothing of Temporal, of HTTP or of the saga.
"""

from collections.abc import Mapping
from typing import Protocol

from shared import BookVacationInput, Kind


class SupplierError(Exception):
    """The base of what a supplier may answer but success.

    The text is the supplier's own and meant for travellers: no address, credential or traceback.
    """


class Refused(SupplierError):
    """The supplier's final word: no later try can succeed."""


class Unavailable(SupplierError):
    """This try has failed; a later one may succeed."""


class Supplier(Protocol):
    """Books one kind of item.

    Both calls are made at least once, sometimes twice at the same time, sometimes late. An
    exception other than a `SupplierError` counts as a failure whose text is for the logs only.
    """

    async def book(self, trip: BookVacationInput, attempt: int) -> None:
        """Hold the trip's item, once, however often it is asked for.

        The trip is known by its `book_user_id`. `attempt` is the number of the try, from 1. Raises
        `Refused`, also when the trip's reservation was cancelled before, and `Unavailable`.
        """

    async def cancel(self, trip: BookVacationInput) -> None:
        """Release what the trip holds, nothing included, and refuse every later `book` of it.

        Raises `Refused` when it cannot be released, and `Unavailable`.
        """

    async def refuse_late_booking(self, trip: BookVacationInput) -> None:
        """Refuse every later `book` of the trip, whatever is held: an operator has settled it.

        Raises `Unavailable`.
        """


Suppliers = Mapping[Kind, Supplier]
"""Who books each kind."""
