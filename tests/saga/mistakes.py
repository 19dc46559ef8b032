"""Workflows with the mistakes that the tests must see caught."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from saga import Saga, root_cause
    from shared import BookingResult, BookVacationInput
    from workflows import CAR, FLIGHT, HOTEL, STEPS


@workflow.defn(name="BookingWorkflow")
class HotelFirst(Saga):
    """An incompatible edit of `BookingWorkflow`: it books the hotel before the car."""

    @workflow.init
    def __init__(self, book_input: BookVacationInput) -> None:
        super().__init__(book_input, STEPS)

    @workflow.run
    async def run(self, book_input: BookVacationInput) -> BookingResult:
        try:
            await self.book(HOTEL)
            await self.book(CAR)
            await self.book(FLIGHT)
        except (ActivityError, asyncio.CancelledError) as error:
            await self.undo_all()
            reason = root_cause(error)
            await self.close("rolled_back", reason)
            return BookingResult(status="failure", message=reason)
        await self.close("booked")
        return BookingResult(status="success", message=self.booked_items)
