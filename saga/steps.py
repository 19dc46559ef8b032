"""A step of a trip: the activities that book it and undo it, and how they are run.

The activities count in the record how often a supplier fails. Temporal retries each one until it
succeeds, gives up, or is out of time. So a try that was lost with its worker, or that its worker
could not read, costs nothing, and this code sees none of them.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Concatenate, NamedTuple

from temporalio import exceptions, workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from saga.deadline import TripOverdue

with workflow.unsafe.imports_passed_through():
    from shared import UNDECIDED, BookVacationInput, Kind, cut, task_queue_of

Activity = Callable[Concatenate[BookVacationInput, ...], Awaitable[object]]
"""Takes the trip, and then the results of earlier steps that the workflow gives it."""

FOR_TRAVELLERS = ("SupplierRefused", "SupplierFailed", UNDECIDED, "ValueError")
"""The types of errors whose text is meant for travellers. Any other's may hold anything."""

NO_ANSWER = "The supplier did not answer in time"

OWN_ANSWERS = dt.timedelta(minutes=1)
"""What a try needs for itself: its questions to the record, and its worker's pauses."""


class Step(NamedTuple):
    """One step of a trip. All that differs between the kinds stands here."""

    kind: Kind
    book: Activity
    undo: Activity | None = None
    """Without one it is the pivot, or comes after it: then nothing is undone any more."""

    @property
    def activities(self) -> list[Activity]:
        """What a worker needs for the step."""
        return [self.book] if self.undo is None else [self.book, self.undo]


async def run(
    step: Step,
    activity: Activity,
    book_input: BookVacationInput,
    *given: object,
    activity_id: str,
    within: dt.timedelta | None,
    verb: str,
    final: tuple[str, ...] = (),
) -> RawValue:
    """Run an activity of a step to its end, `within` that time.

    Nobody here reads its result: an operator may complete it with any. Raises `ActivityError` when
    it has given up, is out of time, or fails with one of the types `final`.
    """
    policy = book_input.policy
    result: RawValue = await workflow.execute_activity(
        activity.__name__,
        args=[book_input, *given],
        result_type=RawValue,
        task_queue=task_queue_of(step.kind) if step.kind in policy.own_queues else None,
        activity_id=activity_id,
        summary=f"{verb} {step.kind} {cut(str(book_input.item(step.kind)))}",
        schedule_to_close_timeout=within,
        start_to_close_timeout=start_to_close(book_input),
        heartbeat_timeout=dt.timedelta(seconds=policy.heartbeat_timeout),
        retry_policy=retry_policy(book_input, *final),
    )
    return result


def retry_policy(book_input: BookVacationInput, *final: str) -> RetryPolicy:
    """Return how a trip's activities are retried: for ever, at one pace.

    A supplier's failure has a wait of its own, which grows with its failures. Those of lost tries
    must not grow: a starved worker loses many.
    """
    return RetryPolicy(
        initial_interval=dt.timedelta(seconds=book_input.policy.retry_interval),
        backoff_coefficient=1.0,
        # The tutorial's final error. Our own activities say themselves which of theirs is final.
        non_retryable_error_types=["ValueError", *final],
    )


def start_to_close(book_input: BookVacationInput) -> dt.timedelta:
    """Return the time after which a try counts as lost with its worker.

    The try itself gives its supplier up after `try_timeout`. It asks at most twice: what an earlier
    try has booked, and for the booking.
    """
    return 2 * dt.timedelta(seconds=book_input.policy.try_timeout) + OWN_ANSWERS


def takes_its_time(error: ActivityError) -> bool:
    """Tell whether an activity has ended undecided or out of time: nobody has given it up."""
    undecided = isinstance(error.cause, ApplicationError) and error.cause.type == UNDECIDED
    timed_out = isinstance(error.cause, exceptions.TimeoutError)
    # Out of time after a failure, it ends with that failure.
    return undecided or timed_out or error.retry_state == RetryState.TIMEOUT


def root_cause(error: BaseException) -> str:
    """Return why an activity failed, in the supplier's words where there are any, or the trip."""
    if isinstance(error, TripOverdue):
        return str(error)
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ApplicationError):
            # An activity that an operator fails by hand ends with a final error without a type.
            by_hand = not cause.type and cause.non_retryable
            if by_hand or cause.type in FOR_TRAVELLERS:
                return cut(cause.message)
        cause = cause.__cause__
    return NO_ANSWER
