"""The worker process: polls the task queue and runs the workflows and their activities.

`python run_worker.py`; SIGINT or SIGTERM stops it once its running activities are done.
"""

import os
import signal

if __name__ == "__main__":
    # The imports below take a second; an order to stop that comes meanwhile has nothing to stop.
    # The orderly handlers take over once there is something.
    for early in (signal.SIGINT, signal.SIGTERM):
        signal.signal(early, lambda *_: os._exit(0))

import asyncio
import datetime as dt
import logging
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
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
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import activities
import suppliers
from audit import AUDIT_QUEUE, AuditActivities, Auditor, AuditWorkflow, keep_schedule
from connection import Encryption, connect, converter_of, not_polling
from record import Record, RecordError, RecordUnavailable
from saga import HEARTBEAT_THROTTLE, STICKY_TIMEOUT, Step
from settings import Settings, load_settings, temporal_config
from shared import KINDS, TASK_QUEUE_NAME, task_queue_of
from suppliers import compose
from telemetry import (
    Tracing,
    WorkerTelemetry,
    configure_logging,
    show_connections,
    start_tracing,
    unmeasured_runtime,
)
from workflows import STEPS, BookingWorkflow, CancelBookingWorkflow

logger = logging.getLogger("worker")

MAX_CONCURRENT_ACTIVITIES = 1_000

OPEN_FILES = 4_096
"""Many systems allow 1,024 unless they are asked."""

STOP_LIMIT = 3.0
"""Seconds that a stop may take beyond the grace for running activities, whatever hangs."""

ACTIVITIES: list[Callable[..., Any]] = [
    *(activity for step in STEPS for activity in (step.book, step.undo)),
    activities.record_trip,
    activities.record_stuck_undo,
    activities.resolve_undo,
]
WORKFLOWS = [BookingWorkflow, CancelBookingWorkflow]
"""What runs trips, wherever a worker is made of it; the audit has a worker of its own below."""


def create_worker(
    client: Client, settings: Settings, interceptors: Sequence[Interceptor] = ()
) -> Worker:
    """Return a worker for the trips' task queue, not yet started."""
    return Worker(
        client,
        task_queue=TASK_QUEUE_NAME,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        interceptors=list(interceptors),
        workflow_runner=_workflow_runner(settings),
        # A trip ends by the version that it began with.
        deployment_config=_deployment(settings, VersioningBehavior.PINNED),
        # An activity mostly waits for its supplier, so many fit into one worker. As many pollers as
        # the load asks for keep trips from waiting; behind a fixed few, some wait for seconds.
        max_concurrent_activities=MAX_CONCURRENT_ACTIVITIES,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=dt.timedelta(seconds=settings.worker_grace_seconds),
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )


def create_workers(
    client: Client, settings: Settings, interceptors: Sequence[Interceptor] = ()
) -> list[Worker]:
    """Return the workers of this process, not yet started.

    Besides the trips' task queue it polls one for each kind, in every case: which of them a trip
    uses was decided when it started.
    """
    return [
        create_worker(client, settings, interceptors),
        *(_create_activity_worker(client, settings, step, interceptors) for step in STEPS),
    ]


def _create_activity_worker(
    client: Client, settings: Settings, step: Step, interceptors: Sequence[Interceptor]
) -> Worker:
    return Worker(
        client,
        task_queue=task_queue_of(step.kind),
        activities=[step.book, step.undo],
        interceptors=list(interceptors),
        deployment_config=_deployment(settings, VersioningBehavior.PINNED),
        max_concurrent_activities=MAX_CONCURRENT_ACTIVITIES,
        # Temporal shares the rate out among all workers of the queue.
        max_task_queue_activities_per_second=settings.suppliers[step.kind].calls_per_second,
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=dt.timedelta(seconds=settings.worker_grace_seconds),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )


def create_audit_worker(client: Client, settings: Settings, auditor: Auditor) -> Worker:
    """Return a worker that audits, not yet started."""
    return Worker(
        client,
        task_queue=AUDIT_QUEUE,
        workflows=[AuditWorkflow],
        activities=AuditActivities(auditor).all,
        workflow_runner=_workflow_runner(settings),
        # It keeps no old version from being stopped; a change of its code ends it at the most.
        deployment_config=_deployment(settings, VersioningBehavior.AUTO_UPGRADE),
        # There are few audits, and each is in no hurry.
        max_concurrent_activities=2,
        max_concurrent_workflow_tasks=2,
        max_cached_workflows=0,
        max_concurrent_workflow_task_polls=1,
        max_concurrent_activity_task_polls=1,
        graceful_shutdown_timeout=dt.timedelta(seconds=settings.worker_grace_seconds),
    )


def _workflow_runner(settings: Settings) -> WorkflowRunner:
    # The sandbox loads the workflows' modules anew for each trip, for a quarter of the worker's CPU
    # time. The tests run every workflow and every replay in it, so it has nothing to find.
    if settings.workflow_sandbox:
        return SandboxedWorkflowRunner()
    return UnsandboxedWorkflowRunner()


def _deployment(settings: Settings, behavior: VersioningBehavior) -> WorkerDeploymentConfig | None:
    # Every worker of the process has it: activities on a task queue that a version does not poll
    # would go to the current version's worker. The workflows do not say it themselves, because
    # Temporal refuses that of a worker without a version.
    if settings.worker_version is None:
        return None
    return WorkerDeploymentConfig(settings.worker_version, True, behavior)


async def run(
    settings: Settings,
    config: ClientConnectConfig,
    tracing: Tracing,
    telemetry: WorkerTelemetry | None = None,
) -> None:
    """Work until cancelled: wait for Temporal and the database, then poll."""
    runtime = telemetry.sdk.runtime if telemetry else unmeasured_runtime()
    keys = settings.payload_keys
    converter = converter_of(Encryption(keys.revealed, keys.encrypting))
    client = await connect(config, runtime, tracing.plugins, converter)
    async with Record.open(settings.database_url) as record:
        await _prepare(record)
        observer = telemetry.metrics.supplier_called if telemetry else None
        composition = compose(record, settings, observer, tracing.follow_call)
        suppliers.composition.set(composition)
        try:
            # Cancelled, all of them stop at once: their times of grace are one.
            async with asyncio.TaskGroup() as polling:
                interceptors = [telemetry.interceptor] if telemetry else []
                workers = create_workers(client, settings, interceptors)
                auditor = Auditor(
                    client,
                    record,
                    composition.desks,
                    settings.saga_policy,
                    settings.calls_per_second,
                )
                for worker in (*workers, create_audit_worker(client, settings, auditor)):
                    polling.create_task(worker.run())
                polling.create_task(auditor.open_trips.compare_for_ever())
                if settings.audit_interval_seconds is not None:
                    keeping = keep_schedule(client, settings.audit_interval_seconds)
                    polling.create_task(keeping)
                logger.info("Polling task queue %s%s", TASK_QUEUE_NAME, _as_version(settings))
                if telemetry is not None:
                    show_connections(telemetry.metrics.registry, record.database.connections)
                    telemetry.health.started(lambda: _obstacle(client, record))
        finally:
            await composition.close()


def _as_version(settings: Settings) -> str:
    version = settings.worker_version
    return f" as {version.deployment_name} {version.build_id}" if version else ""


async def _obstacle(client: Client, record: Record) -> str | None:
    """Return what keeps the worker from working now, `None` if nothing does."""
    try:
        await record.database.prepare()
    except RecordError as error:
        return str(error)
    return await not_polling(client)


async def _prepare(record: Record) -> None:
    while True:
        try:
            return await record.database.prepare()
        except RecordUnavailable as error:
            logger.warning("Waiting for the database: %s", error.__cause__)
            await asyncio.sleep(1)


@asynccontextmanager
async def _telemetry(settings: Settings) -> AsyncIterator[WorkerTelemetry | None]:
    """Serve the worker's metrics and health, if it has a port for them."""
    if settings.metrics_port is None:
        yield None
        return
    telemetry = WorkerTelemetry({kind: settings.suppliers[kind].name for kind in KINDS})
    async with telemetry.served(settings.metrics_host, settings.metrics_port):
        yield telemetry


async def run_until_signalled(
    settings: Settings, config: ClientConnectConfig, tracing: Tracing
) -> None:
    """Work until the first SIGINT or SIGTERM; further ones do not disturb the orderly stop."""
    async with _telemetry(settings) as telemetry:
        work = asyncio.create_task(run(settings, config, tracing, telemetry))
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        def stop(received: signal.Signals) -> None:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, lambda: None)
            logger.info("Stopping on %s", received.name)
            if telemetry is not None:
                telemetry.health.stopping()
            asked.set()
            work.cancel()

        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop, name)
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        # A trip's ending is told for as long as it takes, which may be longer than a stop may.
        await asyncio.wait({work}, timeout=settings.worker_grace_seconds + STOP_LIMIT)
        if not work.done():
            logger.warning("Leaving what is under way to other workers")
        elif not work.cancelled():
            work.result()
    logger.info("Stopped")


def _allow_open_files() -> None:
    """Raise the limit of open files as far as it may be: a connection to a supplier is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Run the worker process."""
    settings = load_settings()
    _allow_open_files()
    config = temporal_config()
    configure_logging(settings.log_level, settings.log_format)
    tracing = start_tracing("trip-booking-worker")
    uvloop.run(run_until_signalled(settings, config, tracing))
    tracing.close()
    # Leaving through the interpreter's finalization lets the SDK's threads abort the process now
    # and then (https://github.com/temporalio/sdk-python/issues/300). All is closed; go at once.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
