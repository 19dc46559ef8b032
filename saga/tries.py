"""What surrounds every try of an activity: it tells the workflow how it has succeeded.

The activities return the booked id and nothing else. An interceptor is the SDK's place for what is
added to that: https://docs.temporal.io/develop/python/interceptors
"""

from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from shared import Booked, BookVacationInput, Tried


class TryInterceptor(Interceptor):
    """Adds to what an activity returns the number of the try, and why the one before it failed."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _ToldTry(next)


class _ToldTry(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        result = await super().execute_activity(input)
        book_input = input.args[0] if input.args else None
        if not isinstance(book_input, BookVacationInput):
            return result
        info = activity.info()
        # A try leaves its failure to the next one in its last heartbeat.
        last_error = info.heartbeat_details[0] if info.heartbeat_details else None
        attempt = book_input.earlier_tries + info.attempt
        reference = result.reference if isinstance(result, Booked) else None
        return Tried(result, attempt, last_error, reference)
