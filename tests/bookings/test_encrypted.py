"""Trips whose payloads are encrypted are booked, shown and undone as all others; and where a key is
missing nothing is lost, and nothing called an outage."""

from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client

from bookings import Bookings
from record import Record
from saga.failures import UNREAD
from shared import KINDS, Kind, new_user_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.bookings.test_bookings import start as start_by_api
from tests.bookings.test_looking_up import ALL, end, step_in, until_step
from tests.conftest import IMPATIENT, trip
from tests.encrypting import setting, with_keys
from tests.faults import Gate, activity_half, down, faulty_worker, workflow_half
from tests.trips import (
    Trip,
    activities_of,
    eventually,
    result_of,
    retry,
    start,
    steps_by_kind,
    until_failed,
    until_stuck,
)
from tests.workers import running_worker, work_with
from workflows import BookingWorkflow

DOOMED = JOHN | {"flight": "invalid-flight-id"}


def api_with(client: Client, *ids: str, **settings: Any) -> Api:
    return api_of(with_keys(client, *ids), payload_keys=setting(*ids), **settings)


async def test_ids_tell_names_only_while_nothing_is_encrypted(client: Client) -> None:
    for ids, prefix in ((("new",), "trip-"), ((), "john-doe-"), (("plain", "new"), "john-doe-")):
        api = api_of(client, payload_keys=setting(*ids))
        path = await start_by_api(api)
        user_id = path.rpartition("/")[2]
        assert user_id.removeprefix(prefix).isdigit()
        assert len(user_id) == len(new_user_id("trip")) - len("trip-") + len(prefix)
        await end(client, path)


@pytest.mark.parametrize(
    ("client_has", "settings_have", "said"),
    [
        ((), ("new",), True),
        (("new",), ("new",), False),
        ((), (), False),
        ((), ("plain", "new"), False),
    ],
)
def test_a_client_that_leaves_in_clear_what_is_to_be_encrypted_is_told(
    client: Client,
    caplog: pytest.LogCaptureFixture,
    client_has: tuple[str, ...],
    settings_have: tuple[str, ...],
    said: bool,
) -> None:
    api_of(with_keys(client, *client_has), payload_keys=setting(*settings_have))
    assert ("names go to Temporal in clear" in caplog.text) is said


async def test_a_look_up_tells_the_same_with_a_worker_and_without(
    client: Client, record: Record
) -> None:
    patient = api_with(client, "new", retry_interval_seconds=60, retry_interval_cap_seconds=60)
    async with faulty_worker(with_keys(client, "new"), record) as faults:
        faults.faults["reserve", "hotel"] = faults.faults["cancel", "hotel"] = down
        trying = await start_by_api(patient)
        await until_step(patient, trying, "hotel", attempts=2, last_error="The record is down")
        del faults.faults["reserve", "hotel"]
        undoing = await start_by_api(patient, DOOMED)
        told = await until_step(
            patient, undoing, "hotel", undo_attempts=2, last_error="The record is down"
        )
        assert told["stale"] is False
        assert step_in(told, "flight")["last_error"] == "Invalid flight booking, rolling back!"
    both: list[tuple[str, str, list[Kind]]] = [
        (trying, "booking", ["car"]),
        (undoing, "undoing", ["car", "hotel"]),
    ]
    for path, state, held in both:
        told = body_of(await patient.get(path))
        assert told["stale"] is True
        assert step_in(told, "hotel")["state"] == state
        assert step_in(told, "hotel")["last_error"] == "The record is down"
        assert told["reservations"] == {kind: ALL[kind] for kind in held}
        await end(client, path)
    assert step_in(told, "flight")["last_error"] == "Invalid flight booking, rolling back!"


async def test_a_trip_that_only_temporal_knows_is_shown(client: Client) -> None:
    encrypted = with_keys(client, "new")
    unknown = await start(encrypted, trip(name="Ada", owner="anonymous", accepted=False))
    told = body_of(await api_with(client, "old", "new").get(f"/bookings/{unknown.id}"))
    assert [step["item"] for step in told["steps"]] == list(ALL.values())
    await unknown.terminate()


async def test_a_trip_that_began_under_the_old_key_or_none_ends_under_the_new(
    client: Client, record: Record
) -> None:
    in_clear, by_old, rotated = (with_keys(client, *ids) for ids in ((), ("old",), ("new", "old")))
    begun = [await start(each, trip()) for each in (in_clear, by_old)]
    async with faulty_worker(by_old, record) as faults:
        faults.faults["reserve", "hotel"] = gate = Gate()
        await gate.reached(calls=len(begun))
        begun.append(await start(by_old, trip(book_flight_id="invalid-flight-id")))
        faults.faults["reserve", "hotel"] = down
        await until_failed(begun[-1], tries=1)
    await gate.open()
    async with running_worker(rotated, record):
        ends = [
            (await result_of(rotated.get_workflow_handle_for(BookingWorkflow.run, each.id)))[
                "status"
            ]
            for each in begun
        ]
    assert ends == ["success", "success", "failure"]


# A key is missing


async def test_an_api_without_the_key_says_so_and_still_answers_from_the_record(
    client: Client, record: Record
) -> None:
    without = api_of(client)
    encrypted = with_keys(client, "new")
    async with faulty_worker(encrypted, record) as faults:
        booked = body_of(await without.book(JOHN))
        assert booked["cancelled"] is False
        faults.faults["reserve", "hotel"] = gate = Gate()
        path = await start_by_api(without)
        await gate.reached()
        refused = await without.get(path)
        assert_problem(refused, 500)
        assert "by the key 'new', which PAYLOAD_KEYS has not" in refused.text
        await gate.open()
        await encrypted.get_workflow_handle(path.rpartition("/")[2]).result()
        ended = body_of(await without.get(path))
        assert ended["reservations"] == ALL


async def test_a_trip_whose_key_is_lost_can_be_ended_and_undone(
    client: Client, record: Record
) -> None:
    lost, kept = with_keys(client, "old"), with_keys(client, "new")
    api = api_with(client, "new")
    async with faulty_worker(lost, record) as faults:
        faults.faults["reserve", "flight"] = gate = Gate()
        path = await start_by_api(api_with(client, "old"))
        await gate.reached()
    assert_problem(await api.get(path), 500)
    await kept.get_workflow_handle(path.rpartition("/")[2]).terminate()
    stopped = body_of(await api.get(path))
    assert stopped["status"] == "needs_attention"
    assert stopped["reservations"].items() >= {kind: ALL[kind] for kind in KINDS[:2]}.items()
    async with running_worker(kept, record):
        undone = body_of(await api.call("POST", f"{path}/cancel"))
    assert (undone["status"], undone["reservations"]) == ("cancelled", {})
    assert {row.state for row in await record.reservations_of(undone["user_id"])} == {"cancelled"}
    await gate.open()


async def test_a_trip_is_not_called_unknown_for_want_of_the_key(client: Client) -> None:
    unknown = await start(with_keys(client, "new"), trip(accepted=False))
    refused = await api_with(client, "old").get(f"/bookings/{unknown.id}")
    assert_problem(refused, 500)
    assert "'new', which PAYLOAD_KEYS has not" in refused.text
    await unknown.terminate()


async def test_what_cannot_be_read_keeps_the_audit_from_no_other_trip(
    client: Client, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    unread = await start(with_keys(client, "new"), trip(accepted=False))
    read = await start(client, trip(accepted=False))
    bookings = Bookings(client, record, IMPATIENT)
    found: set[str] = set()

    async def both_are_met() -> bool:
        # Temporal lists a workflow a moment after its start.
        found.update(finding.user_id for finding in await bookings.audit())
        return read.id in found and f"nothing can be made of {unread.id}" in caplog.text

    await eventually(both_are_met)
    assert unread.id not in found
    assert "'new', which PAYLOAD_KEYS has not" in caplog.text
    for each in (unread, read):
        await each.terminate()


async def test_a_worker_without_the_key_fails_no_trip_and_one_with_it_goes_on(
    client: Client, record: Record
) -> None:
    """Not even the last attempt is lost by its tries: no supplier has failed."""
    encrypted = with_keys(client, "new")
    policy = replace(IMPATIENT, retry_interval=0.05, retry_interval_cap=0.05)
    waiting = await start(encrypted, trip(attempts=1, policy=policy))
    work_with(record)
    async with workflow_half(encrypted):
        async with activity_half(client):
            in_vain = await eventually(lambda: until_tried(waiting, 3))
            shown = body_of(await api_with(client, "new").get(f"/bookings/{waiting.id}"))
            assert in_vain == ["book_car"] * len(in_vain)
            assert step_in(shown, "car")["last_error"] == UNREAD
            assert step_in(shown, "car")["state"] == "booking"
        async with activity_half(encrypted):
            result = await result_of(waiting)
    assert result["status"] == "success"
    assert steps_by_kind(result)["car"].last_error == UNREAD


async def until_tried(booking: Trip, times: int) -> list[str] | None:
    begun = await activities_of(booking)
    return begun if len(begun) >= times else None


async def test_what_no_worker_can_read_ends_by_its_deadline_and_the_undo_waits_for_the_key(
    client: Client, record: Record
) -> None:
    encrypted = with_keys(client, "new")
    # No further try fits between the first and the deadline of the step.
    policy = replace(IMPATIENT, retry_interval=0.05, retry_interval_cap=20.0)
    overdue = await start(encrypted, trip(attempts=1, policy=policy))
    work_with(record)
    async with workflow_half(encrypted):
        async with activity_half(client):
            stuck = await until_stuck(overdue, "car")
            assert [step.last_error for step in stuck.steps] == [UNREAD, None, None]
        await retry(overdue, "car")
        async with activity_half(encrypted):
            result = await result_of(overdue)
    assert (result["status"], result["message"]) == ("failure", UNREAD)
    assert [step.state for step in steps_by_kind(result).values()] == ["undone"] + ["pending"] * 2
