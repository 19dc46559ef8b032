"""The workflow that audits, as a schedule starts it. Workflow code: it only asks its activities.

Each page of an audit is an activity of its own, so the end of a worker costs a page at most.
"""

import datetime as dt
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from audit.activities import AuditActivities, PageInput
    from audit.auditor import Place
    from audit.differences import Tally
    from record import Audit

PATIENCE = RetryPolicy(maximum_interval=dt.timedelta(minutes=1))
"""However long the record or Temporal is away, the audit goes on when it is back."""

QUESTION_LIMIT = dt.timedelta(minutes=1)
"""The limit of an activity that asks the record one question."""

PAGE_LIMIT = dt.timedelta(days=1)
"""A supplier that takes ten calls a minute needs hours for the trips of a page."""

HEARTBEAT_LIMIT = dt.timedelta(seconds=30)


@dataclass(frozen=True)
class AuditInput:
    """What is to be audited, and how far it has come."""

    everything: bool = False
    """Every trip, not only those that have changed since the last audit."""
    audit: Audit | None = None
    place: Place = field(default_factory=Place)
    so_far: Tally = field(default_factory=Tally)


# A mistake in its code ends an audit, and so does a change of the code meanwhile. The next audit
# begins where it began. An audit that waited for its code to be mended would hold up all others.
@workflow.defn(failure_exception_types=[Exception])
class AuditWorkflow:
    """Audits once."""

    @workflow.run
    async def run(self, audit_input: AuditInput) -> Tally:
        """Return what the audit has come to."""
        audit = audit_input.audit or await _begun(audit_input.everything)
        place: Place | None = audit_input.place
        tally = audit_input.so_far
        while place is not None:
            page = await workflow.execute_activity_method(
                AuditActivities.audit_page,
                PageInput(audit, place),
                summary=f"Trips that are {place.stage}, after {place.after_id or 'none'}",
                start_to_close_timeout=PAGE_LIMIT,
                heartbeat_timeout=HEARTBEAT_LIMIT,
                retry_policy=PATIENCE,
            )
            tally.add(page.tally)
            place = page.next
            if place is not None and _has_grown():
                workflow.continue_as_new(AuditInput(audit_input.everything, audit, place, tally))
        await workflow.execute_activity_method(
            AuditActivities.end_audit,
            args=[audit, tally],
            start_to_close_timeout=QUESTION_LIMIT,
            retry_policy=PATIENCE,
        )
        return tally


async def _begun(everything: bool) -> Audit:
    return await workflow.execute_activity_method(
        AuditActivities.begin_audit,
        args=[workflow.info().first_execution_run_id, everything],
        start_to_close_timeout=QUESTION_LIMIT,
        retry_policy=PATIENCE,
    )


def _has_grown() -> bool:
    """Tell whether the history has become so long that another run should go on."""
    return workflow.info().is_continue_as_new_suggested()
