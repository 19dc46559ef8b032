"""A step of a trip: the activities that book it and undo it, and how they are run and retried."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from shared import BookVacationInput, Kind, Tried, step_of, task_queue_of

Activity = Callable[[BookVacationInput], Awaitable[str]]


class Step(NamedTuple):
    """One step of a trip. All that differs between the kinds stands here."""

    kind: Kind
    book: Activity
    undo: Activity


async def run_try(
    activity: Activity,
    book_input: BookVacationInput,
    *,
    activity_id: str | None,
    summary: str,
    retry_policy: RetryPolicy,
    schedule_to_close: dt.timedelta | None = None,
) -> Tried | None:
    """Run an activity of a step, and return what it tells; `None` if it only tells the item.

    Raises `ActivityError`.
    """
    policy = book_input.policy
    kind, _ = step_of(activity.__name__)
    tried: Tried | str = await workflow.execute_activity(
        activity.__name__,
        book_input,
        task_queue=task_queue_of(kind) if kind in policy.own_queues else None,
        # What a worker of the first version, or one without our interceptor, returns is the item.
        result_type=Tried | str,  # type: ignore[arg-type]  # A union is none of its overloads.
        activity_id=activity_id,
        summary=summary,
        schedule_to_close_timeout=schedule_to_close,
        start_to_close_timeout=start_to_close(book_input),
        heartbeat_timeout=dt.timedelta(seconds=policy.heartbeat_timeout),
        retry_policy=retry_policy,
    )
    return tried if isinstance(tried, Tried) else None


def retry_policy(book_input: BookVacationInput, attempts: int, *final_errors: str) -> RetryPolicy:
    """Return how a trip's activities are retried, `attempts` times at the most (0: for ever)."""
    policy = book_input.policy
    return RetryPolicy(
        initial_interval=dt.timedelta(seconds=policy.retry_interval),
        maximum_interval=dt.timedelta(seconds=policy.retry_interval_cap),
        maximum_attempts=attempts,
        non_retryable_error_types=list(final_errors),
    )


def start_to_close(book_input: BookVacationInput) -> dt.timedelta:
    """Return the time after which a try counts as lost with its worker.

    The activity itself gives its supplier up earlier, after `try_timeout`.
    """
    policy = book_input.policy
    return dt.timedelta(seconds=policy.try_timeout + policy.heartbeat_timeout)
