"""What was booked stays known: by its key, its look-up, the list and its cancellation, for good.

Temporal forgets a closed workflow at the end of its retention; here it is made to at once.
"""

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS, TASK_QUEUE_NAME, cancellation_id, keyed_user_id
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.bookings.between import Before, client_with
from tests.faults import FaultyRecord, Gate, faulty_worker, refuse_for_good
from tests.trips import delete

ALL = {kind: JOHN[kind] for kind in KINDS}
DOOMED = JOHN | {"flight": "invalid-flight-id"}


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


async def book(api: Api, key: str, body: dict[str, Any] = JOHN) -> dict[str, Any]:
    return body_of(await api.book(body, Idempotency_Key=key))


async def look_up(api: Api, user_id: str) -> dict[str, Any]:
    return body_of(await api.get(f"/bookings/{user_id}"))


async def cancel(api: Api, user_id: str) -> dict[str, Any]:
    return body_of(await api.call("POST", f"/bookings/{user_id}/cancel"))


async def listed(api: Api) -> list[dict[str, Any]]:
    return list(body_of(await api.get("/bookings"))["bookings"])


# Keys


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(JOHN, id="booked"),
        # `test_keys` has it of a trip that Temporal still knows: from the record, too.
        pytest.param(DOOMED, id="rolled back", marks=pytest.mark.slow),
    ],
)
async def test_a_key_gives_the_same_outcome_when_temporal_has_forgotten_the_trip(
    client: Client, api: Api, faults: FaultyRecord, body: dict[str, Any]
) -> None:
    first = await book(api, "lisbon", body)
    before = await faults.all_reservations()
    await delete(client, first["user_id"])
    asked = [api_of(client) for _ in range(2)] * 4
    assert await asyncio.gather(*(book(each, "lisbon", body) for each in asked)) == [first] * 8
    others = await asyncio.gather(
        *(each.book(body | {"car": "another"}, Idempotency_Key="lisbon") for each in asked)
    )
    for other in others:
        assert_problem(other, 422)
    assert await faults.all_reservations() == before
    assert len(await listed(api)) == 1


async def test_a_key_gives_the_same_outcome_when_the_trip_was_cancelled_later(
    client: Client, api: Api, faults: FaultyRecord
) -> None:
    first = await book(api, "porto")
    user_id = first["user_id"]
    await cancel(api, user_id)
    assert await book(api, "porto") == first
    await delete(client, user_id)
    await delete(client, cancellation_id(user_id))
    assert await book(api, "porto") == first
    assert (await look_up(api, user_id))["status"] == "cancelled"
    assert (await cancel(api, user_id))["status"] == "cancelled"
    assert await faults.all_reservations() != []
    assert {each.state for each in await faults.all_reservations()} == {"cancelled"}


# Look-up, list and cancel


async def test_a_forgotten_trip_is_looked_up_listed_and_cancelled(
    client: Client, api: Api, faults: FaultyRecord
) -> None:
    user_id = (await book(api, "faro"))["user_id"]
    before = await look_up(api, user_id)
    row = (await listed(api))[0]
    await delete(client, user_id)
    assert await look_up(api, user_id) == before
    assert await listed(api) == [row]
    cancelled = await cancel(api, user_id)
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
    assert {each.state for each in await faults.reservations_of(user_id)} == {"cancelled"}
    assert await cancel(api, user_id) == cancelled


async def test_the_look_up_of_a_trip_that_is_over_asks_temporal_nothing(
    client: Client, api: Api, faults: FaultyRecord
) -> None:
    user_id = (await book(api, "braga"))["user_id"]

    async def no_query() -> None:
        pytest.fail("Temporal was asked")

    between = Before(no_query)
    quiet = api_of(client_with(client, between))
    assert (await look_up(quiet, user_id))["status"] == "booked"
    assert between.descriptions == 0


# Started by other means


async def start_by_cli(client: Client, workflow_id: str, user_id: str, **changes: Any) -> None:
    """Start a trip as `temporal workflow start --input` does: with the tutorial's fields only."""
    items = {f"book_{kind}_id": JOHN[kind] for kind in KINDS} | changes
    await client.start_workflow(
        "BookingWorkflow",
        {"attempts": 5, "book_user_id": user_id, **items},
        id=workflow_id,
        task_queue=TASK_QUEUE_NAME,
    )


@pytest.mark.parametrize("workflow_id", ["cli-1", "any-id"])
async def test_a_trip_that_was_started_by_the_cli_is_like_any_other(
    client: Client, api: Api, faults: FaultyRecord, workflow_id: str
) -> None:
    workflow_id, user_id = f"{workflow_id}-{id(faults)}", f"cli-1-{id(faults)}"
    await start_by_cli(client, workflow_id, user_id)
    await client.get_workflow_handle(workflow_id).result()
    booking = await look_up(api, user_id)
    assert (booking["status"], booking["reservations"]) == ("booked", ALL)
    (row,) = await listed(api)
    assert (row["user_id"], row["name"]) == (user_id, "")
    assert {kind: row[kind] for kind in KINDS} == ALL
    cancelled = await cancel(api, user_id)
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
    assert {each.state for each in await faults.reservations_of(user_id)} == {"cancelled"}


async def test_a_trip_of_the_cli_that_no_worker_has_taken_up_is_known_too(
    client: Client, api: Api, record: Record
) -> None:
    user_id = f"cli-2-{id(record)}"
    await start_by_cli(client, user_id, user_id)
    assert (await look_up(api, user_id))["status"] == "running"
    assert [row["user_id"] for row in await listed(api)] == [user_id]
    async with faulty_worker(client, record):
        assert (await cancel(api, user_id))["status"] == "cancelled"


@pytest.mark.parametrize("taken_up", [False, True], ids=["not taken up", "booked"])
async def test_a_key_does_not_take_over_a_trip_of_the_cli(
    client: Client, api: Api, record: Record, taken_up: bool
) -> None:
    key = f"seville-{taken_up}"
    user_id = keyed_user_id("anonymous", key)
    await start_by_cli(client, user_id, user_id, book_car_id="of the cli")
    if taken_up:
        async with faulty_worker(client, record):
            await client.get_workflow_handle(user_id).result()
    assert_problem(await api.book(JOHN, Idempotency_Key=key), 422)
    async with faulty_worker(client, record):
        await client.get_workflow_handle(user_id).result()
    assert (await look_up(api, user_id))["reservations"] == ALL | {"car": "of the cli"}
    assert len(await listed(api)) == 1


# Ended from outside


async def stopped_half_way(client: Client, api: Api, faults: FaultyRecord, key: str) -> str:
    """Return the id of a trip that was terminated with its car and hotel booked."""
    faults.faults["reserve", "flight"] = gate = Gate()
    headers = {"Idempotency_Key": key, "Prefer": "respond-async"}
    user_id: str = body_of(await api.book(JOHN, **headers))["user_id"]
    await gate.reached()
    await client.get_workflow_handle(user_id).terminate()
    faults.faults.clear()
    return user_id


@pytest.mark.parametrize("deleted", [False, True], ids=["terminated", "deleted"])
async def test_a_trip_that_was_ended_from_outside_needs_attention_until_it_is_cancelled(
    client: Client, api: Api, faults: FaultyRecord, deleted: bool
) -> None:
    key = f"stopped-{deleted}"
    user_id = await stopped_half_way(client, api, faults, key)
    if deleted:
        await delete(client, user_id)
    booking = await look_up(api, user_id)
    held = {kind: JOHN[kind] for kind in KINDS[:2]}
    assert (booking["status"], booking["reservations"]) == ("needs_attention", held)
    assert booking["closed_at"] is not None
    answer = await api.book(JOHN, Idempotency_Key=key)
    assert (answer.status_code, body_of(answer)["status"]) == (202, "needs_attention")
    cancelled = await cancel(api, user_id)
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
    assert (await book(api, key))["cancelled"] is True
    assert {each.state for each in await faults.reservations_of(user_id)} == {"cancelled"}


async def test_a_cancellation_that_was_ended_from_outside_can_be_begun_again(
    client: Client, api: Api, faults: FaultyRecord
) -> None:
    user_id = (await book(api, "evora"))["user_id"]
    faults.faults["cancel", "hotel"] = refuse_for_good
    stuck = await api.call("POST", f"/bookings/{user_id}/cancel")
    assert (stuck.status_code, body_of(stuck)["status"]) == (202, "needs_attention")
    await client.get_workflow_handle(cancellation_id(user_id)).terminate()
    faults.faults.clear()
    assert (await look_up(api, user_id))["reservations"] == {"hotel": JOHN["hotel"]}
    cancelled = await cancel(api, user_id)
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
