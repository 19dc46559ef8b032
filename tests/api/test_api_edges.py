"""The rare turns of a trip's life, as the API's callers meet them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client

from api.problems import SECURITY_HEADERS
from record import Record
from shared import TASK_QUEUE_NAME, cancellation_id
from tests.api.api_client import (
    DOOMED,
    JOHN,
    JSON,
    NOTE,
    Api,
    api_of,
    assert_problem,
    body_of,
    listed,
    start,
    start_stuck,
    state_of,
    statuses_listed,
    until,
)
from tests.conftest import trip
from tests.faults import FaultyRecord, Gate, at_first, refuse_for_good
from workflows import BookingWorkflow


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


@pytest.fixture
async def unattended(client: Client) -> AsyncIterator[str]:
    """The path of a trip that no worker takes up."""
    path = await start(api_of(client))
    yield path
    await client.get_workflow_handle(id_in(path)).terminate()


def id_in(path: str) -> str:
    return path.rpartition("/")[2]


async def held(record: Record, path: str) -> set[str]:
    return {row.state for row in await record.reservations_of(id_in(path))}


# Looking up


async def test_a_look_up_that_waits_returns_as_soon_as_the_trip_ends(
    api: Api, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "flight"] = gate = Gate()
    path = await start(api)
    await gate.reached()
    running = body_of(await api.get(path))
    assert (running["status"], running["stale"]) == ("running", False)
    assert running["reservations"] == {kind: JOHN[kind] for kind in ("car", "hotel")}
    waiting = asyncio.create_task(api.get(f"{path}?wait=60"))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    await gate.open()
    async with asyncio.timeout(10):
        assert body_of(await waiting)["status"] == "booked"


async def test_a_look_up_waits_no_longer_than_it_was_asked_to(api: Api, unattended: str) -> None:
    async with asyncio.timeout(10):
        assert body_of(await api.get(f"{unattended}?wait=0.1"))["status"] == "running"


# Cancelling


async def test_eight_cancels_at_once_of_a_running_trip_get_one_answer(
    api: Api, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    path = await start(api)
    await gate.reached()
    cancels = [asyncio.create_task(api.call("POST", f"{path}/cancel")) for _ in range(8)]
    first, *others = [body_of(answer) for answer in await asyncio.gather(*cancels)]
    assert first["status"] == "cancelled"
    assert all(other == first for other in others)
    await gate.open()
    assert await held(faults, path) == {"cancelled"}


async def test_a_cancel_during_the_undo_does_not_disturb_it(api: Api, faults: FaultyRecord) -> None:
    faults.faults["cancel", "hotel"] = gate = Gate()
    path = await start(api, DOOMED)
    await gate.reached()
    cancelling = asyncio.create_task(api.call("POST", f"{path}/cancel"))
    await asyncio.wait({cancelling}, timeout=0.2)
    await gate.open()
    assert body_of(await cancelling)["status"] == "cancelled"
    assert await held(faults, path) == {"cancelled"}


async def test_a_cancel_of_a_stuck_trip_leaves_it_to_the_operator(
    client: Client, faults: FaultyRecord
) -> None:
    impatient = api_of(client, undo_attempts=1, book_wait_seconds=0.2)
    path = await start_stuck(impatient, faults)
    response = await impatient.call("POST", f"{path}/cancel")
    assert (response.status_code, body_of(response)["status"]) == (202, "needs_attention")
    await impatient.call("POST", f"{path}/undo/hotel/resolve", json=NOTE)
    assert (await until(lambda: impatient.get(path), status="cancelled"))["closed_at"]


async def test_a_cancellation_that_was_stopped_from_outside_can_be_asked_for_again(
    api: Api, faults: FaultyRecord, client: Client
) -> None:
    path = f"/bookings/{body_of(await api.book(JOHN))['user_id']}"
    faults.faults["cancel", "car"] = refuse_for_good
    cancelling = asyncio.create_task(api.call("POST", f"{path}/cancel"))
    await until(lambda: api.get(path), status="needs_attention")
    await client.get_workflow_handle(cancellation_id(id_in(path))).terminate()
    assert body_of(await cancelling)["status"] == "needs_attention"
    del faults.faults["cancel", "car"]
    assert body_of(await api.call("POST", f"{path}/cancel"))["status"] == "cancelled"
    assert await held(faults, path) == {"cancelled"}
    assert await statuses_listed(api) == {id_in(path): "cancelled"}


async def test_a_cancelled_trip_is_listed_as_it_is_looked_up(
    api: Api, faults: FaultyRecord
) -> None:
    user_id = body_of(await api.book(JOHN))["user_id"]
    booked = body_of(await api.get(f"/bookings/{user_id}"))
    cancelled = body_of(await api.call("POST", f"/bookings/{user_id}/cancel"))
    assert cancelled["started_at"] == booked["started_at"]
    assert cancelled["closed_at"] > booked["closed_at"]
    filters: list[dict[str, Any]] = [{}, {"status": "cancelled"}]
    for parameters in filters:
        (row,) = await listed(api, **parameters)
        assert row == {name: {**JOHN, **cancelled}[name] for name in row}


async def test_the_key_of_a_cancelled_trip_gives_its_outcome_and_books_nothing(
    api: Api, faults: FaultyRecord
) -> None:
    booked = body_of(await api.book(JOHN, Idempotency_Key="booked-then-cancelled"))
    await api.call("POST", f"/bookings/{booked['user_id']}/cancel")
    for preference in ({}, {"Prefer": "respond-async"}):
        again = await api.book(JOHN, Idempotency_Key="booked-then-cancelled", **preference)
        assert (again.status_code, body_of(again)) == (200, booked)
    assert await held(faults, booked["user_id"]) == {"cancelled"}


# Repairing


async def test_a_cancellation_that_is_stuck_can_be_retried(api: Api, faults: FaultyRecord) -> None:
    path = f"/bookings/{body_of(await api.book(JOHN))['user_id']}"
    faults.faults["cancel", "flight"] = at_first(1, refuse_for_good)
    stuck = await api.call("POST", f"{path}/cancel")
    assert (stuck.status_code, body_of(stuck)["status"]) == (202, "needs_attention")
    answers = [await api.call("POST", f"{path}/undo/flight/retry") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    ended = body_of(await api.get(f"{path}?wait=20"))
    assert (ended["status"], state_of(ended, "flight")) == ("cancelled", "undone")
    assert await held(faults, path) == {"cancelled"}


async def test_resolving_again_keeps_the_first_note(api: Api, faults: FaultyRecord) -> None:
    faults.faults["cancel", "car"] = refuse_for_good
    path = await start_stuck(api, faults)
    await until(lambda: api.get(path), status="needs_attention")
    for note in ("first", "second"):
        await api.call("POST", f"{path}/undo/hotel/resolve", json={"note": note})
    still = body_of(await api.get(path))
    assert still["status"] == "needs_attention", "The car is stuck yet"
    assert still["steps"][1]["note"] == "first"
    await api.call("POST", f"{path}/undo/car/resolve", json=NOTE)
    ended = body_of(await api.get(f"{path}?wait=20"))
    assert [step["note"] for step in ended["steps"]] == [NOTE["note"], "first", None]


@pytest.mark.parametrize("note", ["", " ", "a\0b", "x" * 201, 5, None], ids=ascii)
async def test_a_bad_note_is_named(api: Api, note: object) -> None:
    response = await api.call("POST", "/bookings/any/undo/car/resolve", json={"note": note})
    assert_problem(response, 400, "note")


# Listing


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("user_id", ["o'brien", "back\\slash\\'", "') OR ('1' = '1"])
async def test_an_odd_id_that_another_client_chose_does_not_break_the_list(
    api: Api, client: Client, user_id: str
) -> None:
    started = await client.start_workflow(
        BookingWorkflow.run, trip(book_user_id=user_id), id=user_id, task_queue=TASK_QUEUE_NAME
    )
    await started.result()
    (row,) = await listed(api, limit=1)
    assert (row["user_id"], row["status"]) == (user_id, "booked")
    assert body_of(await api.get(row["links"]["self"]))["status"] == "booked"


# Input, limits and what every answer carries


@pytest.mark.usefixtures("worker")
async def test_the_longest_input_is_booked(api: Api) -> None:
    longest = {name: value if name == "attempts" else "🧳" * 200 for name, value in JOHN.items()}
    assert body_of(await api.book(longest))["cancelled"] is False


@pytest.mark.parametrize("name", ["\0", "\u202e", "🧳", "a.b", ""], ids=ascii)
async def test_an_unknown_field_of_any_name_is_named(api: Api, name: str) -> None:
    assert_problem(await api.book(JOHN | {name: 1}), 400, name)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/bookings/x", b"", 401),
        ("POST", "/book", b"{", 400),
        ("POST", "/book", b" " * 20_000, 413),
        ("DELETE", "/book", b"", 405),
        ("OPTIONS", "/book", b"", 200),
    ],
)
async def test_even_a_refusal_carries_the_security_headers(
    client: Client, method: str, path: str, body: bytes, status: int
) -> None:
    keys = "shop:a-secret-of-shop-00" if status == 401 else ""
    response = await api_of(client, api_keys=keys).call(method, path, data=body, headers=JSON)
    assert response.status_code == status
    assert dict(response.headers).items() >= SECURITY_HEADERS.items()
