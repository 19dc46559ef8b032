"""What `/metrics` tells of the last audit."""

import re

import pytest
from temporalio.client import Client

from audit import DIFFERENCES, Auditor, Difference, Tally
from record import Record
from tests.api.api_client import api_of
from tests.audit.auditing import audit, change_reservation
from tests.bookings.requests import planted


def told(text: str, name: str) -> dict[str, float]:
    """Return the values of a metric, by what its label says."""
    lines = re.findall(rf'^{name}(?:{{\w+="(\w+)"}})? (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in lines}


async def test_the_last_audit_is_told_with_every_difference(
    client: Client,
    auditor: Auditor,
    record: Record,
) -> None:
    before = (await api_of(client).get("/metrics")).text
    assert told(before, "booking_audit_last_success_timestamp_seconds") == {}
    user_id = await planted(record)
    for kind in ("car", "hotel"):
        await change_reservation(record, user_id, kind, state="cancelled")
    tally, _ = await audit(auditor)
    kept = await record.audits.last()
    assert kept is not None
    assert kept.ended_at is not None
    # The record's answer serves each scrape for a while.
    text = (await api_of(client).get("/metrics")).text
    at = told(text, "booking_audit_last_success_timestamp_seconds")
    assert at[""] == pytest.approx(kept.ended_at.timestamp(), abs=0.01)
    differences = told(text, "booking_audit_differences")
    assert differences == {kind: tally.differences.get(kind, 0) for kind in DIFFERENCES}
    assert differences["not_held"] >= 1


def test_a_trip_counts_once_for_each_difference() -> None:
    told: list[Difference] = []
    tally = Tally(told.append)
    tally.note(
        [Difference("a", "not_held", "has no car"), Difference("a", "not_held", "nor hotel")]
    )
    tally.note(
        [Difference("b", "not_held", "has no car"), Difference("b", "stopped", "was stopped")]
    )
    assert tally.differences == {"not_held": 2, "stopped": 1}
    assert len(told) == 4
