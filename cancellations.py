"""The cancellation of a trip whose own workflow has closed: undo everything, in reverse.

A workflow of its own, in a module of its own: the sandbox loads the module anew for each trip, so
what most trips do not need is not in `workflows.py`. This is workflow code, as that is.
"""

from temporalio import workflow

from saga import Saga

with workflow.unsafe.imports_passed_through():
    from shared import BookingResult, BookVacationInput
    from workflows import STEPS


@workflow.defn
class CancelBookingWorkflow(Saga):
    """Cancels a trip whose `BookingWorkflow` has closed: undoes flight, hotel and car."""

    @workflow.init
    def __init__(self, book_input: BookVacationInput) -> None:
        super().__init__(book_input, STEPS)
        self._compensations.extend(STEPS)

    @workflow.run
    async def run(self, book_input: BookVacationInput) -> BookingResult:
        """Return what was undone. Cancelling this workflow does not stop it."""
        await self.undo_all()
        return BookingResult(
            status="cancelled", message="Voyage cancelled", steps=self.close("cancelled")
        )
