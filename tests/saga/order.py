"""An order's workflows: pay, reserve, send, or refund. The parcel is the pivot."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from saga import Saga, Step, TripOverdue, of_this_execution, root_cause

with workflow.unsafe.imports_passed_through():
    from shared import CANCELLED, BookingResult
    from tests.saga import shop
    from tests.saga.shop import OrderInput


def step(kind: Any, *activities: Any) -> Step:
    """Return a step of a kind that no trip has."""
    return Step(kind, *activities)


PAYMENT = step("payment", shop.book_payment, shop.undo_book_payment)
STOCK = step("stock", shop.book_stock, shop.undo_book_stock)
PARCEL = step("parcel", shop.book_parcel)
RECEIPT = step("receipt", shop.book_receipt)
STEPS = (PAYMENT, STOCK, PARCEL, RECEIPT)


class OrderSaga(Saga):
    def __init__(self, order: OrderInput) -> None:
        wanted: Any = order
        super().__init__(of_this_execution(wanted), STEPS)

    # An operator may name the kinds of a trip alone, unless `shared.Kind` has those of an order.

    @workflow.update
    def retry(self, kind: Any) -> None:
        self._compensations.retry(kind)

    @workflow.update
    async def resolve(self, kind: Any, note: str) -> None:
        await self._compensations.resolve(kind, note)


@workflow.defn
class OrderWorkflow(OrderSaga):
    @workflow.init
    def __init__(self, order: OrderInput) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OrderInput) -> BookingResult:
        await self.begin()
        try:
            paid = await self.book(PAYMENT)
            await self.book(STOCK)
            await self.book(PARCEL, paid)
            await self.book(RECEIPT, paid)
            await self.close("booked")
        except (ActivityError, TripOverdue, asyncio.CancelledError) as error:
            await self.undo_all()
            if workflow.cancellation_reason() is None:
                reason = root_cause(error)
                await self.close("rolled_back", reason)
                return BookingResult(status="failure", message=reason)
            await self.close("cancelled", CANCELLED)
            raise asyncio.CancelledError from error
        return BookingResult(status="success", message=self.booked_items)


@workflow.defn
class CancelOrderWorkflow(OrderSaga):
    @workflow.init
    def __init__(self, order: OrderInput) -> None:
        super().__init__(order)

    @workflow.run
    async def run(self, order: OrderInput) -> None:
        await self.undo_booked()
