"""The worker process: polls the task queues and runs the workflows and their activities.

`python run_worker.py`; SIGINT or SIGTERM stops it once its running activities are done.
"""

import asyncio
import datetime as dt
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import uvloop
from temporalio.client import Client
from temporalio.common import VersioningBehavior
from temporalio.envconfig import ClientConnectConfig
from temporalio.worker import (
    Interceptor,
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import activities
import suppliers
from audit import Auditor
from connection import Polls, TemporalAway, connect, encryption_of, temporal_config
from lifecycle import allow_open_files, leave, run_until_told, until_there
from record import Record, RecordError, RecordMisconfigured, RecordUnavailable
from saga import HEARTBEAT_THROTTLE, Step, check_steps
from settings import Settings, load_settings
from shared import KINDS, TASK_QUEUE_NAME, task_queue_of
from telemetry import Tracing, WorkerTelemetry, configure_logging, start_tracing, worker_telemetry
from webhooks import Relay, Sender, delivery_worker
from workflows import STEPS, BookingWorkflow, CancelBookingWorkflow

logger = logging.getLogger("worker")

ACTIVITIES: list[Callable[..., Any]] = [
    *(activity for step in STEPS for activity in step.activities),
    activities.record_trip,
    activities.record_hold,
    activities.record_stuck_undo,
    activities.resolve_undo,
    activities.tell_settings,
]
WORKFLOWS: list[type] = [BookingWorkflow, CancelBookingWorkflow]
"""What runs trips, wherever a worker is made of it."""


def create_worker(
    client: Client,
    settings: Settings,
    interceptors: Sequence[Interceptor] = (),
    step: Step | None = None,
) -> Worker:
    """Return the worker for the trips' task queue, or that for the queue of one step's kind.

    It is not started yet.
    """
    queue, activities, workflows, rate = TASK_QUEUE_NAME, ACTIVITIES, WORKFLOWS, None
    if step is not None:
        queue, rate = task_queue_of(step.kind), settings.calls_per_second[step.kind]
        activities, workflows = step.activities, []
    version, deployment = settings.worker_version, None
    if version is not None:
        # A trip ends by the version that it began with. What a version does not poll goes to the
        # current one, so workers of activities alone have a version, too.
        deployment = WorkerDeploymentConfig(version, True, VersioningBehavior.PINNED)
    # The sandbox loads the workflows' modules anew for each trip, for a quarter of the worker's CPU
    # time. The tests run every workflow and every replay in it, so it has nothing to find.
    sandboxed = settings.workflow_sandbox
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=activities,
        interceptors=list(interceptors),
        workflow_runner=SandboxedWorkflowRunner() if sandboxed else UnsandboxedWorkflowRunner(),
        deployment_config=deployment,
        # An activity mostly waits for its supplier, so many fit into one worker. As many pollers as
        # the load asks for keep trips from waiting; behind a fixed few, some wait for seconds.
        max_concurrent_activities=1_000,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        # Temporal shares the rate out among all workers of the queue.
        max_task_queue_activities_per_second=rate,
        graceful_shutdown_timeout=dt.timedelta(seconds=settings.worker_grace_seconds),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )


def create_workers(
    client: Client, settings: Settings, interceptors: Sequence[Interceptor] = ()
) -> list[Worker]:
    """Return the workers that run trips, not yet started.

    The queue of each kind is polled in any case: trips that use it may be under way.
    """
    return [create_worker(client, settings, interceptors, step) for step in (None, *STEPS)]


async def work(
    settings: Settings, config: ClientConnectConfig, tracing: Tracing, telemetry: WorkerTelemetry
) -> None:
    """Work until cancelled: wait for Temporal and the database, then poll."""
    encryption, temporal = encryption_of(settings.payload_keys), config["target_host"]
    connecting = functools.partial(connect, config, encryption, telemetry.runtime, tracing.plugins)
    client = await until_there(f"Temporal at {temporal}", connecting, TemporalAway)
    async with Record.open(settings.database_url.get_secret_value()) as record:
        await until_there("the database", record.database.prepare, RecordUnavailable)

        polls = Polls(client)

        async def obstacle() -> str | None:
            try:
                await record.database.check_writable()
            except RecordError as error:
                return str(error)
            return await polls.not_polling()

        observer, follow_call = telemetry.supplier_called, tracing.follow_call
        composed = suppliers.compose(record, settings, observer, follow_call)
        suppliers.composition.set(composed)
        policy, rates = settings.saga_policy, settings.calls_per_second
        auditor = Auditor(client, record, composed.desks, policy, rates)
        workers = create_workers(client, settings, telemetry.interceptors)
        relay = Relay(client, record.events, deliver=settings.webhook_url is not None)
        sender = None
        if settings.webhook_url is not None:
            secrets, proxy = settings.webhook_secrets, settings.webhook_proxy
            sender = Sender(record.events, settings.webhook_url, secrets, proxy)
            workers.append(delivery_worker(client, sender, settings.worker_grace_seconds))
        try:
            # Cancelled, all of them stop at once: their times of grace are one.
            async with asyncio.TaskGroup() as polling:
                for worker in workers:
                    polling.create_task(worker.run())
                polling.create_task(relay.pass_on_for_ever())
                polling.create_task(auditor.open_trips.compare_for_ever())
                if settings.audit_interval_seconds is not None:
                    polling.create_task(auditor.audit_for_ever(settings.audit_interval_seconds))
                logger.info("Polling task queue %s", TASK_QUEUE_NAME)
                telemetry.started(record.database.connections, obstacle)
        finally:
            await composed.close()
            if sender is not None:
                await sender.close()


async def run(settings: Settings, config: ClientConnectConfig, tracing: Tracing) -> None:
    """Work until told to stop; tell of the work at the worker's port, if it has one."""
    names = {kind: settings.suppliers[kind].name for kind in KINDS}
    host, port = settings.metrics_host, settings.metrics_port
    async with worker_telemetry(names, host, port, settings.host_names) as telemetry:
        working = work(settings, config, tracing, telemetry)
        await run_until_told(working, settings.worker_grace_seconds, telemetry.health.stopping)


def main() -> None:
    """Run the worker process."""
    check_steps(STEPS, KINDS, ACTIVITIES)
    settings, config = load_settings(), temporal_config()
    configure_logging(settings.log_level, settings.log_format)
    allow_open_files()
    tracing = start_tracing("trip-booking-worker")
    try:
        uvloop.run(run(settings, config, tracing))
    except RecordMisconfigured as error:
        logger.critical(error.explained())
        leave(1)
    tracing.close()
    leave()


if __name__ == "__main__":
    main()
