"""A client between whose questions to Temporal a test lets something happen."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    WorkflowExecutionDescription,
)


class Before(Interceptor):
    """Calls `query` before each query of a workflow, and counts the descriptions."""

    def __init__(self, query: Callable[[], Awaitable[None]]) -> None:
        self.query = query
        self.descriptions = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _Outbound(next, self)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, before: Before) -> None:  # noqa: A002
        super().__init__(next)
        self._before = before

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:  # noqa: A002
        self._before.descriptions += 1
        return await super().describe_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002
        await self._before.query()
        return await super().query_workflow(input)


def client_with(client: Client, interceptor: Interceptor) -> Client:
    """Return the client with an interceptor more."""
    config = client.config()
    config["interceptors"] = [interceptor]
    return Client(**config)
