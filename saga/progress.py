"""How far a trip has come: the state of its steps, and what the Web UI shows of it."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from shared import BOOKING_STATUS_ATTRIBUTE, Kind, StepProgress, StepState, TripStatus

STATUS_KEY = SearchAttributeKey.for_keyword(BOOKING_STATUS_ATTRIBUTE)


class Progress:
    """The steps of one trip and its status. Whatever changes one of them is shown at once."""

    def __init__(self, steps: dict[Kind, StepProgress]) -> None:
        self.status: TripStatus = "running"
        self.steps = steps

    def move(self, kind: Kind, state: StepState) -> None:
        """Take note of where a step is now."""
        self.steps[kind].state = state
        stuck = any(step.state == "stuck" for step in self.steps.values())
        self.set_status("needs_attention" if stuck else "running")

    def set_status(self, status: TripStatus) -> None:
        """Take note of where the trip is now."""
        if status != self.status:
            self.status = status
            # Only a start that carried the attribute proves that the server knows it: upserting
            # an unknown one would block the workflow.
            if workflow.info().typed_search_attributes.get(STATUS_KEY) is not None:
                workflow.upsert_search_attributes([STATUS_KEY.value_set(status)])
        self._show()

    def _show(self) -> None:
        lines = [f"**{self.status}**", "", "| step | state | tries | last error |", "|-|-|-|-|"]
        for step in self.steps.values():
            tries = f"{step.attempts}" + (f" + {step.undo_attempts}" if step.undo_attempts else "")
            error = " ".join((step.last_error or "").replace("|", "\\|").split())
            lines.append(f"| {step.kind} | {step.state} | {tries} | {error} |")
        workflow.set_current_details("\n".join(lines))
