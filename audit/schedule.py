"""The schedule that starts an audit at intervals. There is one in a namespace, whoever sets it up.

https://docs.temporal.io/schedule
"""

import datetime as dt
import logging

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from audit.workflow import AuditInput, AuditWorkflow

logger = logging.getLogger(__name__)

SCHEDULE_ID = "trip-audit"

WORKFLOW_ID = "audit"
"""The schedule adds the time to it."""

AUDIT_QUEUE = "saga-task-queue-audit"
"""The audit's own task queue: a worker of an earlier version gets no audit, and an audit takes no
trip's slot."""

RPC_TIMEOUT = dt.timedelta(seconds=10)


async def keep_schedule(client: Client, interval: float) -> None:
    """Have an audit started every `interval` seconds, unless one is running still.

    A schedule that is there is changed; if somebody has paused it, it stays so. That it cannot be
    kept is logged: trips do not need it.
    """
    schedule = _schedule(interval)
    try:
        try:
            await client.create_schedule(SCHEDULE_ID, schedule, rpc_timeout=RPC_TIMEOUT)
        except ScheduleAlreadyRunningError:
            handle = client.get_schedule_handle(SCHEDULE_ID)
            await handle.update(lambda known: _changed(known, schedule), rpc_timeout=RPC_TIMEOUT)
    except Exception:
        logger.exception("The schedule of the audits cannot be kept")
    else:
        logger.info("An audit begins every %g s (schedule %s)", interval, SCHEDULE_ID)


def _schedule(interval: float) -> Schedule:
    every = dt.timedelta(seconds=interval)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            AuditWorkflow.run, AuditInput(), id=WORKFLOW_ID, task_queue=AUDIT_QUEUE
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every)]),
        # After an outage one audit is enough: it covers all that has changed meanwhile.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=every),
    )


def _changed(known: ScheduleUpdateInput, schedule: Schedule) -> ScheduleUpdate:
    schedule.state = known.description.schedule.state
    return ScheduleUpdate(schedule)
