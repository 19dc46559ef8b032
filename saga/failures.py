"""What an activity's failure tells: why, at which try, and whether the try was only lost."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from temporalio import exceptions, workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from saga.deadline import TripOverdue

with workflow.unsafe.imports_passed_through():
    from shared import UNDECIDED, Kind, cut, step_of

WORKER_SHUTDOWN = "WorkerShutdown"
"""What the SDK's core calls the failure of an activity that outlasts its worker's grace."""

LOST_TRY = ("TemporalTimeout:StartToClose", "TemporalTimeout:Heartbeat", WORKER_SHUTDOWN)
"""The failures of a try that was lost with its worker, by the names that retry policies know. For
timeouts those begin with the server's `TimeoutFailureTypePrefix` (temporal/common/retrypolicy)."""

LOST = "The try was lost with its worker"

FINAL = ("ValueError",)
"""The tutorial's final error. Our own activities say themselves which of their errors are final."""

FOR_TRAVELLERS = frozenset(
    {
        *("BookingRefused", "SupplierFailed", UNDECIDED, "ValueError"),
        # Of workers of the first version.
        *("ReservationRefused", "StoreUnavailable"),
    }
)
"""The types of errors whose text is meant for travellers. Any other's may hold anything."""

UNREAD = "A worker cannot read the trip; its log says why"
"""The reason of a try whose input its worker cannot decode: the key is missing that encrypts it."""

NOT_DECODED = "Failed decoding "
"""What the SDK's text of such a failure, which has no type, begins with."""

NO_ANSWER = "The supplier did not answer in time"


def root_cause(error: BaseException) -> str:
    """Return why an activity failed, in the supplier's words where there are any, or the trip."""
    if isinstance(error, TripOverdue):
        return str(error)
    for cause in _application_errors(error):
        if cause.type != WORKER_SHUTDOWN and isinstance(error, ActivityError):
            kind, _ = step_of(error.activity_type)
            return words_for_travellers(kind, cause.type, cause.message)
    return NO_ANSWER


def words_for_travellers(kind: Kind, error_type: str | None, message: str) -> str:
    """Return what a traveller may read of an error: a supplier's own words, or ours."""
    if _says_unread(error_type, message):
        return UNREAD
    return cut(message) if error_type in FOR_TRAVELLERS else f"The {kind} supplier failed"


def attempts_told(error: ActivityError) -> int | None:
    """Return the number of the last try that the supplier has failed, if the error tells it.

    Behind a lost try stands the failure of the try before it.
    """
    for cause in _application_errors(error):
        if cause.details and isinstance(cause.details[0], int):
            return cause.details[0]
    return None


@dataclass(frozen=True)
class Question:
    """What an undecided try tells: when to ask again, and of what it is the continuation."""

    attempt: int
    wait: dt.timedelta
    last_error: str | None
    """Why the try before it failed."""


def question_in(error: ActivityError) -> Question | None:
    """Return what an undecided try tells; `None`: the error tells of something else."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type != UNDECIDED:
        return None
    attempt, wait, last_error = cause.details
    return Question(attempt, dt.timedelta(seconds=wait), last_error)


def was_lost(error: ActivityError) -> bool:
    """Tell whether the last try was lost with its worker, so that nobody has failed.

    Only an activity that does not retry such failures by itself says so: those of trips that
    started before `LOST_TRY` was in their retry policies do not.
    """
    cause = error.cause
    return error.retry_state == RetryState.NON_RETRYABLE_FAILURE and (
        isinstance(cause, exceptions.TimeoutError)
        or (isinstance(cause, ApplicationError) and cause.type == WORKER_SHUTDOWN)
    )


def was_unread(error: ActivityError) -> bool:
    """Tell whether the last try could not be read by its worker, so that no supplier has failed."""
    cause = error.cause
    return isinstance(cause, ApplicationError) and _says_unread(cause.type, cause.message)


def _says_unread(error_type: str | None, message: str) -> bool:
    return not error_type and message.startswith(NOT_DECODED)


def _application_errors(error: BaseException) -> Iterator[ApplicationError]:
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ApplicationError):
            yield cause
        cause = cause.__cause__
