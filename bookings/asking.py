"""How a question to Temporal can fail, and what each failure means for the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from bookings.errors import (
    BookingNotFound,
    BookingsError,
    NoWorker,
    TemporalRefuses,
    TemporalUnavailable,
)
from connection import refusal, refusal_of

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
    `BookingNotFound` for a workflow that is not there; `TemporalRefuses` for all other failures.
    """
    try:
        yield
    except RPCError as error:
        raise meaning_of(error) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise NoWorker("No worker took the request") from error
    except RuntimeError as error:
        # This is how a lazy client fails on its first call; the SDK has no type of its own for it.
        if not str(error).startswith("Failed client connect"):
            raise
        if reason := refusal(str(error)):
            raise TemporalRefuses(f"Temporal {reason}.") from error
        raise TemporalUnavailable(str(error)) from error


def meaning_of(error: RPCError) -> BookingsError:
    """Return what the failure of a call means here."""
    if reason := refusal_of(error):
        return TemporalRefuses(f"Temporal {reason}.")
    if error.status in MENDS_ITSELF:
        return TemporalUnavailable(error.message)
    if is_missing_workflow(error):
        return BookingNotFound()
    namespace = _missing_namespace(error)
    if namespace is not None:
        return TemporalRefuses(f"The Temporal namespace '{namespace}' does not exist.")
    return TemporalRefuses("Temporal refuses the request; it has been logged.")


def is_overload(error: TemporalUnavailable) -> bool:
    """Tell whether Temporal answered that it has too much to do, such as too many waits."""
    cause = error.__cause__
    return isinstance(cause, RPCError) and cause.status == RPCStatusCode.RESOURCE_EXHAUSTED


def is_missing_workflow(error: RPCError) -> bool:
    """Tell whether a call failed because there is no such workflow, or no open one."""
    return error.status == RPCStatusCode.NOT_FOUND and _missing_namespace(error) is None


def _missing_namespace(error: RPCError) -> str | None:
    """Return the name of the missing namespace by which a call failed; `None`: none is missing."""
    for detail in error.grpc_status.details:
        failure = NamespaceNotFoundFailure()
        if detail.Unpack(failure):
            return failure.namespace
    return None
