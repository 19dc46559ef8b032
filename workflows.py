"""The saga: book a car, a hotel and a flight, or undo what was booked.

What is promised, and the crash each promise is against, is in `docs/saga.md`; the mechanism is in
`saga.py`. This is workflow code: no clock, no randomness, no I/O, no environment.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

from saga import Saga, Step, root_cause

with workflow.unsafe.imports_passed_through():
    import activities
    from shared import BookedItems, BookingResult, BookVacationInput

CAR = Step("car", activities.book_car, activities.undo_book_car)
HOTEL = Step("hotel", activities.book_hotel, activities.undo_book_hotel)
FLIGHT = Step("flight", activities.book_flight, activities.undo_book_flight)
STEPS = (CAR, HOTEL, FLIGHT)


@workflow.defn
class BookingWorkflow(Saga):
    """Books a car, a hotel and a flight; when one fails, undoes them in reverse."""

    @workflow.init
    def __init__(self, book_input: BookVacationInput) -> None:
        super().__init__(book_input, STEPS)

    @workflow.run
    async def run(self, book_input: BookVacationInput) -> BookingResult:
        """Return what was booked, or why nothing was.

        A workflow that is cancelled closes as Canceled, with its steps in the memo.
        """
        try:
            booked = BookedItems(
                booked_car=await self.book(CAR),
                booked_hotel=await self.book(HOTEL),
                booked_flight=await self.book(FLIGHT),
            )
        except (ActivityError, asyncio.CancelledError) as error:
            await self.undo_all()
            if workflow.cancellation_reason() is None:
                steps = self.close("rolled_back")
                return BookingResult(status="failure", message=root_cause(error), steps=steps)
            # A Canceled workflow has no result, so the memo tells what was undone.
            workflow.upsert_memo({"steps": self.close("cancelled")})
            raise asyncio.CancelledError("Cancelled, and all that was booked is undone") from error
        return BookingResult(status="success", message=booked, steps=self.close("booked"))
