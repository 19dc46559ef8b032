"""Reads a trip's steps off its workflow's history, for when no worker can be asked.

The history knows what was begun and how it ended; what a worker alone knows, such as an operator's
note on a stuck undo, is missing.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from bookings.pending import BEGUN, add_tries, why
from connection import UnreadablePayload
from saga import Stopwatch
from shared import KINDS, UNDECIDED, CancelBookingInput, StepProgress, StepState, step_of

DONE: dict[bool, StepState] = {False: "booked", True: "undone"}
GIVEN_UP: dict[bool, StepState] = {False: "failed", True: "stuck"}
SCHEDULED = "activity_task_scheduled_event_attributes"
STARTED = "activity_task_started_event_attributes"
STATES = {
    SCHEDULED: BEGUN,
    STARTED: BEGUN,
    "activity_task_completed_event_attributes": DONE,
    "activity_task_failed_event_attributes": GIVEN_UP,
    "activity_task_timed_out_event_attributes": GIVEN_UP,
}
"""Where a step is after an event of its booking, or of its undo."""


async def input_in(
    events: Sequence[HistoryEvent], converter: DataConverter
) -> CancelBookingInput | None:
    """Return the input of a trip's workflow, or of its cancellation, which has all of the trip's.

    `None`: somebody has started the workflow with an input that is none. Raises
    `UnreadablePayload`.
    """
    payloads = events[0].workflow_execution_started_event_attributes.input.payloads
    try:
        (book_input,) = await converter.decode(payloads, [CancelBookingInput])
    except UnreadablePayload:
        raise  # It may well be one.
    except Exception:  # Each converter raises its own; a look-up goes on without the steps.
        return None
    return book_input if isinstance(book_input, CancelBookingInput) else None


async def steps_in(
    events: Iterable[HistoryEvent], book_input: CancelBookingInput, converter: DataConverter
) -> list[StepProgress]:
    """Return the steps of a trip of this input, as its workflow's events show them.

    They took as long as from the event that scheduled the first activity of a booking, or of an
    undo, to the one that ended the last; what the workflow says differs by milliseconds.
    """
    wanted = [(kind, book_input.item(kind)) for kind in KINDS]
    steps = {kind: StepProgress(kind, item) for kind, item in wanted if item is not None}
    # A cancellation goes on from where the booking ended.
    steps |= {step.kind: replace(step) for step in book_input.steps if step.kind in steps}
    stopwatch = Stopwatch()
    activity_types: dict[int, str] = {}
    for event in events:
        form = event.WhichOneof("attributes") or ""
        if form not in STATES:
            continue
        told = getattr(event, form)
        if form == SCHEDULED:
            activity_types[event.event_id] = told.activity_type.name
        first = event.event_id if form == SCHEDULED else told.scheduled_event_id
        kind, undo = step_of(activity_types[first])
        if kind in steps:
            step = steps[kind]
            state = await _after(step, form, told, converter, undo=undo)
            stopwatch.move(step, state, event.event_time.ToDatetime(dt.UTC))
    return list(steps.values())


async def _after(
    step: StepProgress, form: str, told: Any, converter: DataConverter, *, undo: bool
) -> StepState:
    """Take note of an event of a step's booking, or of its undo; return the state after it."""
    state = STATES[form][undo]
    if STATES[form] is DONE:
        step.held = not undo
    tries = 0
    if STATES[form] is GIVEN_UP:
        if told.failure.application_failure_info.type == UNDECIDED:
            state = BEGUN[undo]
            tries = -1  # It goes on, as the same try.
        else:
            step.last_error = await why(step.kind, told.failure, converter)
    if form == SCHEDULED:
        tries = 1
    if form == STARTED:
        # It is written when the activity is over, and tells the number of its last try.
        tries = told.attempt - 1
    add_tries(step, tries, undo=undo)
    return state
