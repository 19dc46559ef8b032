"""Listing trips, page by page."""

import base64
import json

from temporalio.service import RPCError, RPCStatusCode

from bookings.asking import asking_temporal, lacks_attribute
from bookings.callers import Caller
from bookings.errors import CannotFilter, UnknownCursor
from bookings.temporal import OWNER_KEY, RPC_TIMEOUT, TripsInTemporal
from bookings.trips import Trip
from saga import STATUS_KEY
from shared import TripStatus, cancellation_id
from workflows import BookingWorkflow, CancelBookingWorkflow


class Listing(TripsInTemporal):
    """Lists trips."""

    async def page(
        self, status: TripStatus | None, limit: int, cursor: str | None, caller: Caller
    ) -> tuple[list[Trip], str | None]:
        """Return a page of the caller's trips and the cursor of the next.

        Running trips come first, then those that ended last. Raises `UnknownCursor`,
        `CannotFilter` and `TemporalUnavailable`.
        """
        query = _query(status, caller)
        token = _token(cursor, query)
        with asking_temporal():
            pages = self._client.list_workflows(
                query, page_size=limit, next_page_token=token, rpc_timeout=RPC_TIMEOUT
            )
            try:
                await pages.fetch_next_page(page_size=limit)
            except RPCError as error:
                if lacks_attribute(error):
                    raise CannotFilter(f"{STATUS_KEY.name} or {OWNER_KEY.name}") from None
                if token and error.status in (
                    RPCStatusCode.INVALID_ARGUMENT,
                    RPCStatusCode.UNKNOWN,
                ):
                    raise UnknownCursor from None
                raise
            rows = [await self.row(execution) for execution in pages.current_page or []]
            trips = await self._with_cancellations(rows)
        if status is not None:
            trips = [trip for trip in trips if trip.status == status]
        return trips, _cursor(pages.next_page_token, query)

    async def _with_cancellations(self, trips: list[Trip]) -> list[Trip]:
        """Show booked trips that were cancelled afterwards as their cancellations."""
        booked = [trip for trip in trips if trip.may_hold_after_closing]
        if not booked:
            return trips
        ids = ", ".join(_quoted(cancellation_id(trip.user_id)) for trip in booked)
        cancellations: dict[str, Trip] = {}
        async for execution in self._client.list_workflows(
            f"WorkflowId IN ({ids})", rpc_timeout=RPC_TIMEOUT
        ):
            undoing = await self.row(execution)
            # The newest run comes first; older ones were stopped from outside.
            cancellations.setdefault(undoing.user_id, undoing)
        return [cancellations.get(trip.user_id, trip) for trip in trips]


def _query(status: TripStatus | None, caller: Caller) -> str:
    # Only constants and checked names go into the query: nothing a client can write freely.
    conditions = [f"WorkflowType = '{BookingWorkflow.__name__}'"]
    if status is not None:
        types = f"'{BookingWorkflow.__name__}', '{CancelBookingWorkflow.__name__}'"
        conditions = [f"WorkflowType IN ({types})", _status_condition(status)]
    if not caller.operator:
        conditions.append(f"{OWNER_KEY.name} = '{caller.name}'")
    return " AND ".join(conditions)


def _status_condition(status: TripStatus) -> str:
    recorded = f"{STATUS_KEY.name} = '{status}'"
    match status:
        # A workflow that was stopped from outside could not record it.
        case "running":
            return f"{recorded} AND ExecutionStatus = 'Running'"
        case "needs_attention":
            return f"({recorded} OR ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut'))"
        case _:
            return recorded


def _quoted(value: str) -> str:
    """Return `value` as a string of a visibility query. Other clients choose their ids freely."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _cursor(token: bytes | None, query: str) -> str | None:
    if not token:
        return None
    content = {"query": query, "token": base64.b64encode(token).decode()}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _token(cursor: str | None, query: str) -> bytes | None:
    """Return Temporal's page token in `cursor`, which is only good for the query it came from."""
    if cursor is None:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor))
        if content["query"] != query:
            raise UnknownCursor
        return base64.b64decode(content["token"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnknownCursor from None
