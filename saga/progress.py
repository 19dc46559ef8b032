"""How far a trip has come, for the Web UI and the CLI. All else of it stands in the record."""

from collections.abc import Iterable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from shared import Kind, StepState, TripStatus


class Progress:
    """The states of one trip's steps. The Web UI shows each change at once."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.steps: dict[Kind, StepState] = dict.fromkeys(kinds, "pending")

    def move(self, kind: Kind, state: StepState) -> None:
        """Take note of where a step is now."""
        self.steps[kind] = state
        self.show("needs_attention" if "stuck" in self.steps.values() else "running")

    def show(self, status: TripStatus) -> None:
        """Show the trip's status, and its steps, in the Web UI."""
        steps = ", ".join(f"{kind}: {state}" for kind, state in self.steps.items())
        workflow.set_current_details(f"**{status}** ({steps})")
