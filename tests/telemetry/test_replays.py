"""Tracing never stands in a trip's way: on or off, from its start or from the middle."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from record import Record
from run_worker import WORKFLOWS
from shared import KINDS
from telemetry.spans import TRIP_ID, SpanTracing
from tests.conftest import trip
from tests.faults import Gate, faulty_worker
from tests.saga.shapes import RECORDED, name_of, recorded
from tests.saga.test_replay import DECRYPTING
from tests.trips import Trip, reset, result_of, start, workflow_tasks
from workflows import BookingWorkflow

RUNNERS = [SandboxedWorkflowRunner(), UnsandboxedWorkflowRunner()]

RUN = "RunWorkflow:BookingWorkflow"


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS, ids=["sandbox", "no sandbox"])
async def test_every_recorded_trip_replays_and_sends_nothing_again(
    tracing: SpanTracing, exporter: InMemorySpanExporter, runner: WorkflowRunner
) -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for path in RECORDED:
            yield recorded(name_of(path))

    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=runner,
        plugins=tracing.plugins,
        data_converter=DECRYPTING,
    )
    async with replayer.workflow_replay_iterator(histories()) as replayed:
        failures = {each.history.workflow_id: each.replay_failure async for each in replayed}
    assert len(failures) == len(RECORDED)
    assert {name: error for name, error in failures.items() if error} == {}
    assert [span.name for span in exporter.get_finished_spans()] == []


async def handed_over(record: Record, first: Client, second: Client) -> Trip:
    """Return a trip that a worker of the one client has begun, and one of the other has ended."""
    gate = Gate()
    async with faulty_worker(first, record) as faults:
        faults.faults["reserve", "hotel"] = gate
        handle = await start(first, trip(attempts=2))
        await gate.reached()
    async with faulty_worker(second, record):
        assert (await result_of(handle))["status"] == "success"
        await gate.open()
    return handle


def spans_of(exporter: InMemorySpanExporter, handle: Trip) -> list[ReadableSpan]:
    """Return the trip's spans. A worker goes on with what other tests have left, too."""
    spans = exporter.get_finished_spans()
    return [span for span in spans if (span.attributes or {})[TRIP_ID] == handle.id]


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


async def test_a_trip_that_another_worker_ends_is_one_trace_all_the_same(
    traced_client: Client, record: Record, exporter: InMemorySpanExporter
) -> None:
    handle = await handed_over(record, traced_client, traced_client)
    spans = spans_of(exporter, handle)
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert len({span.context.span_id for span in spans if span.context}) == len(spans)
    (workflow,) = named(spans, RUN)
    assert workflow.context
    begun = [span for span in spans if span.name.startswith("StartActivity:")]
    assert {parent_of(span) for span in begun} == {workflow.context.span_id}
    tries = Counter(parent_of(span) for span in spans if span.name.startswith("RunActivity:"))
    per_activity = sorted(tries[span.context.span_id] for span in begun if span.context)
    assert per_activity == [*[1] * len(KINDS), 2], (
        "The lost try and the next one are one activity's"
    )
    assert workflow.start_time and workflow.end_time
    assert all(workflow.start_time <= (span.start_time or 0) for span in begun)


def test_a_workflow_that_a_stopped_worker_forgets_has_not_ended(
    tracing: SpanTracing, exporter: InMemorySpanExporter
) -> None:
    for name in ("RunWorkflow:BookingWorkflow", "Other"):
        tracing._tracer.start_span(name).end()
    assert [span.name for span in exporter.get_finished_spans()] == ["Other"]


@pytest.mark.parametrize("on_from", ["the start", "the middle"])
async def test_a_trip_goes_on_where_tracing_is_switched(
    client: Client,
    traced_client: Client,
    record: Record,
    tracing: SpanTracing,
    exporter: InMemorySpanExporter,
    on_from: str,
) -> None:
    clients = [traced_client, client] if on_from == "the start" else [client, traced_client]
    handle = await handed_over(record, *clients)
    spans = spans_of(exporter, handle)
    assert spans
    assert bool(named(spans, RUN)) == (on_from == "the middle"), "Who ends it tells of it"
    history = await handle.fetch_history()
    for plugins in (tracing.plugins, []):
        for runner in RUNNERS:
            replayer = Replayer(workflows=WORKFLOWS, workflow_runner=runner, plugins=plugins)
            await replayer.replay_workflow(history)


async def test_a_trip_that_is_reset_goes_on_in_its_trace(
    traced_client: Client, record: Record, exporter: InMemorySpanExporter
) -> None:
    async with faulty_worker(traced_client, record):
        handle = await start(traced_client, trip())
        await result_of(handle)
        first = spans_of(exporter, handle)
        await reset(traced_client, handle, (await workflow_tasks(handle))[1])
        again: Trip = traced_client.get_workflow_handle_for(BookingWorkflow.run, handle.id)
        assert (await result_of(again))["status"] == "success"
    spans = spans_of(exporter, handle)
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    # The second run takes over what the first had begun before that point: the workflow's span.
    ids = Counter(span.context.span_id for span in spans if span.context)
    workflows = {span.context.span_id for span in named(spans, RUN) if span.context}
    assert {each for each in ids if ids[each] > 1} == workflows
    assert len(named(spans, RUN)) == 2
    assert len(spans) > len(first)
