"""The audit in the service's real processes: a worker runs it, and may be killed."""

import contextlib
import datetime as dt

import pytest
import sqlalchemy as sa

from record.tables import audits
from tests.processes import Service, service, wait_until
from tests.record.databases import rows

pytestmark = pytest.mark.slow


def ended(running: Service) -> list[dt.datetime]:
    """Return when the audits ended that have."""
    query = sa.select(audits.c.ended_at).where(audits.c.ended_at.is_not(None))
    with contextlib.suppress(sa.exc.OperationalError):  # It is locked.
        return [row[0] for row in rows(running.database_url, query.subquery())]
    return []


def test_audits_go_on_when_a_worker_is_killed_in_the_middle_of_them() -> None:
    with service(AUDIT_INTERVAL_SECONDS=1) as running:
        running.start(workers=1)
        first, second = running.workers
        wait_until(lambda: len(ended(running)) >= 2, "two audits have ended")
        first.kill()
        second.start()
        before = len(ended(running))
        wait_until(lambda: len(ended(running)) >= before + 2, "two more have ended")
        assert "differences" in first.output + second.output
        assert "Audit: Trip" not in first.output + second.output
        assert second.stop() == 0
