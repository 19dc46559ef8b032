"""An airline with an API of its own: it has no key against a second order, and no tombstones.

What it has is a reference of ours that its orders carry and can be searched by. So it is asked with
FLIGHT_SUPPLIER_LATE_SECONDS set, and the desk sees to it that no order is sent twice.
"""

import logging
from http import HTTPStatus
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError
from yarl import URL

from shared import BookVacationInput, cut
from suppliers.http_line import Answer, HttpLine, NoAnswer, NotSent
from suppliers.port import Confirmed, OutcomeUnknown, Pending, Refused, Released, Unavailable

logger = logging.getLogger(__name__)

BAD_CREDENTIALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
NOT_FINAL = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


Form = TypeVar("Form", bound=BaseModel)


class _Order(BaseModel):
    id: str
    status: Literal["pending", "confirmed", "cancelled"]
    booking_reference: str | None = None


class _Orders(BaseModel):
    orders: list[_Order]


class _Error(BaseModel):
    message: str


class Airline:
    """Books flights. It is a `Supplier`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._orders = URL(url) / "orders"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._line = HttpLine(headers, connections=100)

    async def close(self) -> None:
        """Close the connections."""
        await self._line.close()

    async def book(self, trip: BookVacationInput, attempt: int) -> Confirmed | Pending:
        """Order the flight. Only the desk knows whether that was done before."""
        wanted = {"offer": trip.book_flight_id, "client_reference": trip.book_user_id}
        answer = await self._ask("POST", self._orders, wanted)
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise _refused(answer)
        placed = _read(_Order, answer)
        return Pending() if placed.status == "pending" else Confirmed(placed.booking_reference)

    async def confirm(self, trip: BookVacationInput) -> Confirmed:
        """Raise `Refused`: it holds nothing, so nobody asks for this."""
        raise Refused("The airline holds nothing")

    async def find(self, trip: BookVacationInput) -> Confirmed | Pending | Released | None:
        """Search the orders for the trip's."""
        orders = {each.status: each for each in await self._orders_of(trip)}
        if "confirmed" in orders:
            return Confirmed(orders["confirmed"].booking_reference)
        if "pending" in orders:
            return Pending()
        return Released() if "cancelled" in orders else None

    async def cancel(self, trip: BookVacationInput) -> Released:
        """Cancel whatever the trip has ordered."""
        orders = await self._orders_of(trip)
        if not orders:
            # The desk asks for this only where something is held: the search will find it.
            raise OutcomeUnknown("The airline does not find the order yet")
        for placed in orders:
            if placed.status != "cancelled":
                url = self._orders / placed.id / "actions" / "cancel"
                answer = await self._ask("POST", url)
                if answer.status != HTTPStatus.OK:
                    raise _refused(answer)
                if _read(_Order, answer).status != "cancelled":
                    raise OutcomeUnknown("The airline has not cancelled")
        return Released()

    async def _orders_of(self, trip: BookVacationInput) -> list[_Order]:
        url = self._orders.with_query(client_reference=trip.book_user_id)
        return _read(_Orders, await self._ask("GET", url)).orders

    async def _ask(self, method: str, url: URL, body: object = None) -> Answer:
        """Send a request, once. Raises `Unavailable` and `OutcomeUnknown`."""
        try:
            answer = await self._line.ask(method, url, {}, body)
        except NotSent as error:
            logger.warning("The airline cannot be reached: %s", error)
            raise Unavailable("The airline cannot be reached") from None
        except NoAnswer as error:
            logger.warning("The airline has not answered: %s", error)
            raise OutcomeUnknown("The airline failed") from None
        if answer.status in BAD_CREDENTIALS:
            logger.error("The airline refuses our token: see FLIGHT_SUPPLIER_TOKEN")
            raise Unavailable("The airline is not available")
        if answer.status in NOT_FINAL or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.warning("The airline answered %d", answer.status)
            raise OutcomeUnknown("The airline failed", answer.wait)
        return answer


def _refused(answer: Answer) -> Refused | OutcomeUnknown:
    """Return the airline's final word, if it is one."""
    if not HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return OutcomeUnknown("The airline failed")
    return Refused(cut(_read(_Error, answer).message))


def _read(form: type[Form], answer: Answer) -> Form:
    try:
        return form.model_validate_json(answer.content)
    except ValidationError as error:
        logger.warning("The airline's answer breaks its API: %s", error)
        raise OutcomeUnknown("The airline failed") from None
