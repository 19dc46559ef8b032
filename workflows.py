"""The saga: book a car, a hotel and a flight, or undo what was booked.

What is promised, and the crash each promise is against, is in `docs/saga.md`; the mechanism is in
`saga/`. This is workflow code: no clock, no randomness, no I/O, no environment.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

from saga import Expired, Saga, Step, TripOverdue, of_this_execution, root_cause

with workflow.unsafe.imports_passed_through():
    import activities
    from shared import CANCELLED, BookingResult, BookVacationInput

STEPS = (
    CAR := Step("car", activities.book_car, activities.undo_book_car),
    HOTEL := Step("hotel", activities.book_hotel, activities.undo_book_hotel),
    FLIGHT := Step("flight", activities.book_flight, activities.undo_book_flight),
)


@workflow.defn
class BookingWorkflow(Saga):
    """Books a car, a hotel and a flight; when one fails, undoes them in reverse."""

    @workflow.init
    def __init__(self, book_input: BookVacationInput) -> None:
        super().__init__(of_this_execution(book_input), STEPS, book_input.hold_seconds)

    @workflow.run
    async def run(self, book_input: BookVacationInput) -> BookingResult:
        """Return what was booked, or why nothing was. Cancelled, it closes as Canceled."""
        await self.begin()
        try:
            await self.book(CAR)
            await self.book(HOTEL)
            await self.book(FLIGHT)
            await self.confirmed()
            await self.close("booked")
        except (ActivityError, TripOverdue, asyncio.CancelledError) as error:
            await self.undo_all()
            if workflow.cancellation_reason() is None:
                reason, expired = root_cause(error), isinstance(error, Expired)
                await self.close("expired" if expired else "rolled_back", reason)
                return BookingResult(status="expired" if expired else "failure", message=reason)
            await self.close("cancelled", CANCELLED)
            raise asyncio.CancelledError("Cancelled, and all that was booked is undone") from error
        return BookingResult(status="success", message=self.booked_items)


@workflow.defn
class CancelBookingWorkflow(Saga):
    """Cancels a trip whose `BookingWorkflow` has closed: undoes flight, hotel and car."""

    @workflow.init
    def __init__(self, book_input: BookVacationInput) -> None:
        # Nobody noted which execution a trip belongs to that is older than the record.
        known = book_input.execution is not None
        super().__init__(book_input if known else of_this_execution(book_input), STEPS)

    @workflow.run
    async def run(self, book_input: BookVacationInput) -> BookingResult:
        """Return that the trip is undone. Cancelling this workflow does not stop it."""
        await self.begin()
        await self.undo_booked()
        await self.close("cancelled", CANCELLED)
        return BookingResult(status="cancelled", message="Voyage cancelled")
