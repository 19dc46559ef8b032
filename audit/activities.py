"""The activities of the workflow that audits. Each may run again, and twice at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio import activity

from audit.auditor import Auditor, Page, Place
from audit.differences import Tally
from record import Audit

HEARTBEAT_INTERVAL = 5.0
"""Seconds."""


@dataclass(frozen=True)
class PageInput:
    """Which page of which audit."""

    audit: Audit
    place: Place


class AuditActivities:
    """The activities, which share an auditor."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    @property
    def all(self) -> Sequence[Callable[..., Awaitable[Any]]]:
        """The activities that a worker registers."""
        return [self.begin_audit, self.audit_page, self.end_audit]

    @activity.defn
    async def begin_audit(self, audit_id: str, everything: bool) -> Audit:
        """Begin an audit, or go on with it."""
        return await self._auditor.begin(audit_id, everything=everything)

    @activity.defn
    async def audit_page(self, page: PageInput) -> Page:
        """Compare a page of trips."""
        async with _heartbeats():
            return await self._auditor.page(page.audit, page.place)

    @activity.defn
    async def end_audit(self, audit: Audit, tally: Tally) -> None:
        """Write how the audit has ended."""
        await self._auditor.end(audit, tally)


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    heart = asyncio.create_task(_beat())
    try:
        yield
    finally:
        heart.cancel()


async def _beat() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_INTERVAL)
