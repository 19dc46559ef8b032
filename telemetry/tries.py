"""Counts in a worker: the tries of its activities, and the endings of trips that it records."""

import asyncio
import time
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from shared import KINDS, RECORD_TRIP, UNDECIDED, TripNews
from telemetry.metrics import ENDED, WorkerMetrics

TRIES = {f"book_{kind}": (kind, "book") for kind in KINDS} | {
    f"undo_book_{kind}": (kind, "undo") for kind in KINDS
}
"""The activities that are tries of a step: its kind, and what they do."""


class MeasuringInterceptor(Interceptor):
    """Counts what the worker's activities do."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _MeasuredActivity(next, self._metrics)


class _MeasuredActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, metrics: WorkerMetrics) -> None:
        super().__init__(next)
        self._metrics = metrics

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        name = activity.info().activity_type
        if name not in TRIES:
            result = await super().execute_activity(input)
            if name == RECORD_TRIP:
                self._count_ending(input.args[-1])
            return result
        kind, action = TRIES[name]
        begun = time.perf_counter()
        outcome = "done"
        try:
            return await super().execute_activity(input)
        except BaseException as error:
            outcome = _outcome_of(error, time.perf_counter() - begun)
            raise
        finally:
            supplier = self._metrics.suppliers[kind]
            self._metrics.tries.labels(kind, supplier, action, outcome).inc()
            seconds = time.perf_counter() - begun
            self._metrics.try_duration.labels(kind, action).observe(seconds)

    def _count_ending(self, news: object) -> None:
        if not isinstance(news, TripNews) or news.status not in ENDED:
            return
        self._metrics.trips_ended.labels(news.status).inc()
        if news.status != "expired":  # It tells how long its traveller thought it over.
            seconds = (news.at - news.began).total_seconds()
            self._metrics.trip_duration.labels(news.status).observe(seconds)


def _outcome_of(error: BaseException, seconds: float) -> str:
    """Return how a try ended that raises `error` after so many seconds."""
    match error:
        case asyncio.CancelledError():
            return "cancelled" if _was_cancelled(seconds) else "lost"
        case ApplicationError(type=error_type) if error_type == UNDECIDED:
            return "undecided"
        case ApplicationError(type="RecordAway"):
            return "record_away"
        # The tutorial's final error, too.
        case ApplicationError(non_retryable=True) | ValueError():
            return "refused"
    return "failed"


def _was_cancelled(seconds: float) -> bool:
    """Tell whether the current try was given up because its trip was cancelled."""
    details = activity.cancellation_details()
    if details is None:
        return False
    # Mostly the trip has ended before its try hears of the cancellation. Temporal does not know the
    # try any more then. It does not know a try that has timed out, either; but no try times out
    # before its first heartbeat is due.
    limit = activity.info().heartbeat_timeout
    young = limit is not None and seconds < limit.total_seconds()
    return details.cancel_requested or (details.not_found and young)
