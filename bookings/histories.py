"""Reads a trip's steps off its workflow's history, for when no worker can be asked.

The history knows what was begun and how it ended; what a worker alone knows, such as an operator's
note on a stuck undo, is missing.
"""

from collections.abc import Iterable, Mapping

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo

from shared import KINDS, Kind, StepProgress, StepState, step_of

BEGUN: dict[bool, StepState] = {False: "booking", True: "undoing"}
DONE: dict[bool, StepState] = {False: "booked", True: "undone"}
GIVEN_UP: dict[bool, StepState] = {False: "failed", True: "stuck"}
"""The state of a step by whether its undo, or its booking, is what happened to it last."""


def steps_in_history(
    items: Mapping[Kind, str],
    events: Iterable[HistoryEvent],
    pending: Iterable[PendingActivityInfo],
) -> list[StepProgress]:
    """Return the steps of a trip for `items`, as its events and pending activities show them."""
    steps = {kind: StepProgress(kind, items[kind]) for kind in KINDS}
    activity_types: dict[int, str] = {}
    earlier_undo_attempts = dict.fromkeys(KINDS, 0)

    def move(activity_type: str, states: dict[bool, StepState], attempt: int, error: str) -> None:
        kind, undo = step_of(activity_type)
        step = steps[kind]
        step.state = states[undo]
        if undo:
            step.undo_attempts = max(step.undo_attempts, earlier_undo_attempts[kind] + attempt)
        else:
            step.attempts = max(step.attempts, attempt)
        step.last_error = error or step.last_error

    for event in events:
        match event.WhichOneof("attributes"):
            case "activity_task_scheduled_event_attributes":
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                activity_types[event.event_id] = name
                kind, _ = step_of(name)
                earlier_undo_attempts[kind] = steps[kind].undo_attempts
                move(name, BEGUN, 1, "")
            case "activity_task_started_event_attributes":
                started = event.activity_task_started_event_attributes
                name = activity_types[started.scheduled_event_id]
                move(name, BEGUN, started.attempt, started.last_failure.message)
            case "activity_task_completed_event_attributes":
                completed = event.activity_task_completed_event_attributes
                move(activity_types[completed.scheduled_event_id], DONE, 1, "")
            case "activity_task_failed_event_attributes":
                failed = event.activity_task_failed_event_attributes
                name = activity_types[failed.scheduled_event_id]
                move(name, GIVEN_UP, 1, failed.failure.message)
            case "activity_task_timed_out_event_attributes":
                timed_out = event.activity_task_timed_out_event_attributes
                name = activity_types[timed_out.scheduled_event_id]
                move(name, GIVEN_UP, 1, timed_out.failure.message)
    for activity in pending:
        move(activity.activity_type.name, BEGUN, activity.attempt, activity.last_failure.message)
    return list(steps.values())
