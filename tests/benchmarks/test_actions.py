"""What a trip costs in Temporal Cloud, and of the record: a change that makes it dearer shows here.

If you change a figure on purpose, change it in docs/scaling.md and in `benchmarks.model`, too.
"""

from collections import Counter
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, MarkerRecordedEventAttributes
from temporalio.client import Client, WorkflowHistory

from benchmarks.actions import actions_in
from benchmarks.model import MEASURED
from benchmarks.storing import counting
from record import Record
from shared import KINDS, cancellation_id
from tests.api.api_client import JOHN, api_of, body_of
from tests.workers import running_worker

HISTORIES = Path(__file__).parents[1] / "saga" / "histories"

BOOKED = {"start_workflow": 1, "schedule_activity": len(KINDS), "record_activity_markers": 1}
"""A trip that is booked, and a cancellation: an activity a step, and telling the record."""

MORE = len(KINDS) - 3
"""How many kinds came after the model and docs/scaling.md, which have three."""


async def billed(client: Client, workflow_id: str) -> Counter[str]:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return actions_in(history.events)


def recorded(name: str) -> Counter[str]:
    text = (HISTORIES / f"{name}.json").read_text()
    return actions_in(WorkflowHistory.from_json(name, text).events)


async def test_a_booked_trip_is_five_actions_and_its_cancellation_five_more(
    client: Client, record: Record
) -> None:
    api = api_of(client)
    async with running_worker(client, record):
        trip = body_of(await api.book(JOHN))["user_id"]
        assert body_of(await api.call("POST", f"/bookings/{trip}/cancel"))["status"] == "cancelled"
    assert await billed(client, trip) == BOOKED
    assert await billed(client, cancellation_id(trip)) == BOOKED
    assert MEASURED.actions == sum(BOOKED.values()) - MORE


async def test_each_further_activity_and_try_is_an_action(client: Client, record: Record) -> None:
    """The hotel is down at first, and then there is no such flight."""
    api = api_of(client)
    async with running_worker(client, record, hotel_outage_attempts=1):
        booked = body_of(await api.book(JOHN))["user_id"]
        failed = body_of(await api.book(JOHN | {"flight": "invalid-flight"}))["user_id"]
    assert await billed(client, booked) == BOOKED | {"retry_activity": 1}
    assert await billed(client, failed) == BOOKED | {"schedule_activity": 6, "retry_activity": 1}


async def test_a_booked_trip_is_six_transactions_of_the_record(
    client: Client, record: Record
) -> None:
    """Accepted; car, hotel and flight reserved; told, with its event; looked up, with three
    statements.

    No request waits for the trip here: after a second the API would ask the record about it.
    """
    api = api_of(client)
    async with running_worker(client, record):
        await api.book(JOHN)  # The first one looks at the schema.
        with counting() as asked:
            trip = body_of(await api.book(JOHN, Prefer="respond-async"))["user_id"]
            await client.get_workflow_handle(trip).result()
            assert body_of(await api.get(f"/bookings/{trip}"))["status"] == "booked"
    assert asked == {"begin": 6 + MORE, "statement": 13 + 2 * MORE}
    assert MEASURED.commits == asked["begin"] - MORE


def test_a_reset_an_update_and_a_timer_are_an_action_each() -> None:
    assert recorded("reset_when_booked")["reset_workflow"] == 1
    repaired = recorded("stuck_and_resolved")
    assert repaired["accept_workflow_update"] == 1
    assert repaired["start_timer"] == 1


def test_all_markers_of_a_workflow_task_are_one_action() -> None:
    markers = [
        HistoryEvent(
            event_type=EventType.EVENT_TYPE_MARKER_RECORDED,
            marker_recorded_event_attributes=MarkerRecordedEventAttributes(
                workflow_task_completed_event_id=task
            ),
        )
        for task in (4, 4, 10)
    ]
    assert actions_in(markers) == {"record_activity_markers": 2}
