"""What an audit says of events that were not delivered, and what it does about them: nothing."""

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

import audit.auditor
from audit import Auditor, Tally
from record import Record
from record.tables import events
from tests.audit.auditing import audit as audited
from tests.audit.auditing import execute
from tests.bookings.requests import DESK, planted


async def due(record: Record, seconds: float, **values: Any) -> tuple[str, str]:
    """Return the ids of a trip and of its event, which has been due for so long."""
    trip_id = await planted(record)
    (event_id,) = await record.events.number(deliver=True)
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    change = sa.update(events).where(events.c.event_id == event_id)
    await execute(record, change.values(due_at=at, **values))
    return trip_id, event_id


async def test_an_event_that_is_undelivered_for_an_hour_is_told_at_each_audit(
    auditor: Auditor, record: Record
) -> None:
    untried, event_id = await due(record, 3_700, delivery="begun")
    failed, _ = await due(record, 7_000, delivery="again", last_error="It answered 500")
    lost, _ = await due(record, 300_000, delivery="given_up", last_error="It was not there")
    young, _ = await due(record, 3_500)
    delivered, done = await due(record, 7_000)
    await record.events.note_delivered(done)
    for _ in range(2):
        tally, said = await audited(auditor)
        assert tally.differences["undelivered"] == 3
        assert said.of(untried) == ["has an event, trip.booked, that is not delivered."]
        assert said.of(failed) == [
            "has an event, trip.booked, that is not delivered: It answered 500."
        ]
        assert said.of(lost) == ["has an event, trip.booked, that was given up: It was not there."]
        assert said.of(young, delivered) == []
    row = await record.trips.by_id(untried)
    assert row is not None and row.status == "booked"
    kept = await record.audits.last()
    assert kept and kept.differences and kept.differences["undelivered"] == 3

    await record.events.deliver_again(event_id)  # An hour begins anew.
    assert (await audited(auditor))[0].differences["undelivered"] == 2


async def test_a_trip_counts_once_however_many_events_and_pages_there_are(
    auditor: Auditor, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.auditor, "PAGE", 1)
    ids = [(await due(record, 7_000))[0] for _ in range(2)]
    for trip_id in ids:
        await record.trips.begin_cancellation(trip_id, DESK.name)
        row = await record.trips.by_id(trip_id)
        assert row is not None
        await record.trips.found(row, "cancelled", "By the desk")
    await record.events.number(deliver=True)
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    await execute(record, sa.update(events).values(due_at=long_ago))
    said: list[str] = []
    tally = Tally(lambda each: said.append(str(each)))
    await auditor._tell_undelivered(tally)
    assert (tally.differences["undelivered"], len(said)) == (2, 4)
