"""How far a trip has come: the state of its steps, and what the Web UI shows of it."""

import datetime as dt
import re

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from shared import BOOKING_STATUS_ATTRIBUTE, Kind, StepProgress, StepState, TripStatus

STATUS_KEY = SearchAttributeKey.for_keyword(BOOKING_STATUS_ATTRIBUTE)

SPAN_OR_BETWEEN = r"(?P<span>[^`|{ ]+(?: [^`|{ ]+)*)|[`|{]"


class Stopwatch:
    """Takes each step to its next state, and the time of its booking and of its undo with that."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Kind, StepState], dt.datetime] = {}
        """When a step's booking, or its undo, was begun for the first time."""

    def move(self, step: StepProgress, state: StepState, at: dt.datetime) -> None:
        """Take a step to a state. A further try begins nothing anew, of a stuck undo neither."""
        step.state = state
        match state:
            case "booking":
                step.booking_seconds = None
                self._begun.setdefault((step.kind, state), at)
            case "booked" | "failed":
                step.booking_seconds = self._seconds((step.kind, "booking"), at)
            case "undoing":
                step.undo_seconds = None
                self._begun.setdefault((step.kind, state), at)
            case "undone" | "resolved":
                step.undo_seconds = self._seconds((step.kind, "undoing"), at)

    def _seconds(self, what: tuple[Kind, StepState], at: dt.datetime) -> float | None:
        if what not in self._begun:
            return None
        # The clocks of two servers may differ.
        return max(0.0, round((at - self._begun[what]).total_seconds(), 3))


class Progress:
    """The steps of one trip and its status. Whatever changes one of them is shown at once."""

    def __init__(self, steps: dict[Kind, StepProgress]) -> None:
        self.status: TripStatus = "running"
        self.steps = steps
        self._stopwatch = Stopwatch()

    def move(self, kind: Kind, state: StepState) -> None:
        """Take note of where a step is now."""
        self._stopwatch.move(self.steps[kind], state, workflow.now())
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
            error = as_cell(step.last_error or "")
            lines.append(f"| {step.kind} | {step.state} | {tries} | {error} |")
        workflow.set_current_details("\n".join(lines))


def as_cell(text: str) -> str:
    """Return the Markdown that shows `text` as it is, on one line, in a cell of a table.

    The Web UI lets HTML through, makes links and images, and changes quotes and dashes, but not in
    a code span. What would end the span or the cell, and the brace of `{runId}`, which is filled in
    everywhere, stand between spans, as numbers.
    """

    def shown(part: re.Match[str]) -> str:
        return f"`{part[0]}`" if part["span"] else f"&#{ord(part[0])};"

    return re.sub(SPAN_OR_BETWEEN, shown, " ".join(text.split()))
