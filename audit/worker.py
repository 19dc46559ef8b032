"""The worker that audits. It has a task queue of its own, so that it takes no trip's slot."""

import datetime as dt

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig, WorkflowRunner

from audit.activities import AuditActivities
from audit.auditor import Auditor
from audit.schedule import AUDIT_QUEUE
from audit.workflow import AuditWorkflow


def create_worker(
    client: Client,
    auditor: Auditor,
    runner: WorkflowRunner,
    version: WorkerDeploymentVersion | None,
    grace: dt.timedelta,
) -> Worker:
    """Return a worker that audits, not yet started.

    `version` is that of its process, if versions are told apart. A stopping worker lets running
    activities go on for `grace`.
    """
    deployment = None
    if version is not None:
        # An audit must not keep an old version running. At worst a change of its code ends it.
        upgrades = VersioningBehavior.AUTO_UPGRADE
        deployment = WorkerDeploymentConfig(version, True, upgrades)
    return Worker(
        client,
        task_queue=AUDIT_QUEUE,
        workflows=[AuditWorkflow],
        activities=AuditActivities(auditor).all,
        workflow_runner=runner,
        deployment_config=deployment,
        # There are few audits, and each is in no hurry.
        max_concurrent_activities=2,
        max_concurrent_workflow_tasks=2,
        max_cached_workflows=0,
        max_concurrent_workflow_task_polls=1,
        max_concurrent_activity_task_polls=1,
        graceful_shutdown_timeout=grace,
    )
