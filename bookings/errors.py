"""What can go wrong when the API asks about bookings, as values that it can act on.

And what each failure of a call to Temporal means by that.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from google.protobuf.message import DecodeError
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from connection import refusal, refusal_of


class BookingsError(Exception):
    """The base of what can go wrong here."""


class TemporalUnavailable(BookingsError):
    """Temporal, or a worker behind it, could not be asked. A start may still have got through."""


class NoWorker(TemporalUnavailable):
    """Temporal has the request, and no worker takes it: none runs that works on this trip."""


class TemporalRefuses(BookingsError):
    """Temporal refuses what it is asked, and will do so until somebody changes something.

    The message is the reason in our words; its cause has Temporal's, which are for the logs.
    """


class BookingNotFound(BookingsError):
    """There is no such trip, or it is not the caller's."""


class BookingDiffers(BookingsError):
    """A trip of that id was started already, with another request."""


class BookingConflict(BookingsError):
    """The trip's state does not allow what was asked; the message says why."""


class EventNotFound(BookingsError):
    """There is no such event."""


class UnknownCursor(BookingsError):
    """The cursor is not one of this list."""


MENDS_ITSELF = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.DATA_LOSS,
}
"""Failures after which the same question may succeed in a moment. After others it never does."""


@contextmanager
def asking_temporal() -> Iterator[None]:
    """Translate the failure of a call to Temporal, whatever its form.

    Raises `TemporalUnavailable`, or its subclass `NoWorker`, for a failure that mends itself;
    `BookingNotFound` for a workflow that is not there, or no longer open; `BookingConflict` for an
    update that the workflow refuses; `TemporalRefuses` for all other failures.
    """
    try:
        yield
    except RPCError as error:
        raise _meaning_of(error) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise NoWorker("No worker took the request") from error
    except WorkflowUpdateFailedError as error:
        if not isinstance(error.cause, ApplicationError):
            raise
        raise BookingConflict(f"{error.cause.message}.") from error
    except RuntimeError as error:
        # This is how a lazy client fails on its first call; the SDK has no type of its own for it.
        if not str(error).startswith("Failed client connect"):
            raise
        if reason := refusal(str(error)):
            raise TemporalRefuses(f"Temporal {reason}.") from error
        raise TemporalUnavailable(str(error)) from error


def _meaning_of(error: RPCError) -> BookingsError:
    """Return what the failure of a call means here."""
    if reason := refusal_of(error):
        return TemporalRefuses(f"Temporal {reason}.")
    if error.status in MENDS_ITSELF:
        return TemporalUnavailable(error.message)
    failure = NamespaceNotFoundFailure()
    # A proxy, or a mock, may give something else than the details of a status.
    with suppress(DecodeError, TypeError):
        if any(detail.Unpack(failure) for detail in error.grpc_status.details):
            return TemporalRefuses(f"The Temporal namespace '{failure.namespace}' does not exist.")
    if error.status == RPCStatusCode.NOT_FOUND:
        return BookingNotFound()
    return TemporalRefuses("Temporal refuses the request; it has been logged.")


def is_overload(error: TemporalUnavailable) -> bool:
    """Tell whether Temporal answered that it has too much to do, such as too many waits."""
    cause = error.__cause__
    return isinstance(cause, RPCError) and cause.status == RPCStatusCode.RESOURCE_EXHAUSTED
