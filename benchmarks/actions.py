"""Counts the actions that Temporal Cloud would bill of a workflow, by its history.

`python -m benchmarks.actions FILE...`. The rules are those of
https://docs.temporal.io/cloud/actions, read on 2026-11-26. What no history tells is not counted
here: heartbeats, queries, rejected updates, and the two actions that a schedule costs each time.
`make bench BENCH=n` has the server's own count.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

BILLED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "start_workflow",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED: "update_workflow_options",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "upsert_workflow_search_attributes",
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "start_child_workflow",
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "schedule_activity",
    EventType.EVENT_TYPE_TIMER_STARTED: "start_timer",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signal_workflow",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "accept_workflow_update",
    EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED: "schedule_nexus_operation",
    EventType.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED: "request_nexus_operation_cancellation",
}
"""The events that are an action each, by the metric that Temporal Cloud counts it in.

A changed memo is none. A run that continues another one is counted where it starts.
"""


def actions_in(events: Sequence[HistoryEvent]) -> Counter[str]:
    """Return how many actions of each kind a workflow's history tells of."""
    found: Counter[str] = Counter()
    with_markers: set[int] = set()
    for event in events:
        if name := BILLED.get(event.event_type):
            found[name] += 1
        match event.event_type:
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                # All of one workflow task are one: local activities, and the markers of `patched`.
                task = event.marker_recorded_event_attributes.workflow_task_completed_event_id
                with_markers.add(task)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                # Tries that have failed have no events of their own.
                again = event.activity_task_started_event_attributes.attempt - 1
                found["retry_activity"] += max(0, again)
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                told = event.workflow_task_completed_event_attributes.metering_metadata
                found["retry_activity_local"] += told.nonfirst_local_activity_execution_attempts
            case EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                cause = event.workflow_task_failed_event_attributes.cause
                found["reset_workflow"] += (
                    cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
                )
    found["record_activity_markers"] += len(with_markers)
    return +found


def main() -> None:
    """Print the actions of each file, as `temporal workflow show --output json` writes it."""
    for file in sys.argv[1:]:
        found = actions_in(WorkflowHistory.from_json("", Path(file).read_text()).events)
        of_each = ", ".join(f"{name} {count}" for name, count in found.most_common())
        sys.stdout.write(f"{Path(file).stem}: {found.total()} actions: {of_each}\n")


if __name__ == "__main__":
    main()
