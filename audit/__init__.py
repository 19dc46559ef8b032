"""The audit: compares what the record, Temporal and the suppliers say of each trip.

It says each difference in a sentence, mends what is certain (an ending that the record was not
told, a booking that shows up for a trip which holds nothing) and marks the rest for people. It runs
as a workflow that a schedule starts, or by hand: `python -m audit`. It knows nothing of HTTP.
"""

from temporalio import workflow

# The sandbox of the workflow comes here first.
with workflow.unsafe.imports_passed_through():
    from audit.activities import AuditActivities
    from audit.auditor import Auditor, Page, Place
    from audit.differences import DIFFERENCES, Difference, Tally
    from audit.worker import create_worker
from audit.schedule import AUDIT_QUEUE, SCHEDULE_ID, keep_schedule
from audit.workflow import AuditInput, AuditWorkflow

__all__ = [
    "AUDIT_QUEUE",
    "DIFFERENCES",
    "SCHEDULE_ID",
    "AuditActivities",
    "AuditInput",
    "AuditWorkflow",
    "Auditor",
    "Difference",
    "Page",
    "Place",
    "Tally",
    "create_worker",
    "keep_schedule",
]
