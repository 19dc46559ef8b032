"""The same key and body is the same booking, however and wherever it is sent again."""

import asyncio
import json

import pytest
from temporalio.client import Client

from record import Record
from shared import KINDS
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.processes import Answer, free_port, service


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client)


@pytest.mark.usefixtures("worker")
async def test_a_repeated_request_is_the_same_booking_even_after_a_restart(
    api: Api, client: Client, record: Record
) -> None:
    first = body_of(await api.book(JOHN, Idempotency_Key="repeated"))
    reordered = dict(reversed(JOHN.items())) | {"attempts": "5"}
    for again in (api, api_of(client)):
        assert body_of(await again.book(reordered, Idempotency_Key='"repeated"')) == first
    assert len(await record.all_reservations()) == len(KINDS)


async def test_a_repeated_request_joins_a_trip_that_still_runs(api: Api, client: Client) -> None:
    impatient = api_of(client, book_wait_seconds=0.1)  # No worker.
    first, second = [await impatient.book(JOHN, Idempotency_Key="running") for _ in range(2)]
    assert first.status_code == second.status_code == 202
    assert first.json == second.json
    await client.get_workflow_handle(body_of(first)["user_id"]).terminate()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "changes", [{"name": "Jane"}, {"attempts": 4}, *({kind: "a"} for kind in KINDS)]
)
async def test_a_key_with_another_body_is_422_and_starts_nothing(
    api: Api, record: Record, changes: dict[str, object]
) -> None:
    key = f"differs-{next(iter(changes))}"
    body_of(await api.book(JOHN, Idempotency_Key=key))
    assert_problem(await api.book(JOHN | changes, Idempotency_Key=key), 422)
    assert len(await record.all_reservations()) == len(KINDS)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, '"a', '""'])
async def test_a_malformed_key_is_a_400_that_names_it(api: Api, key: str) -> None:
    assert_problem(await api.book(JOHN, Idempotency_Key=key), 400, "Idempotency-Key")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("preference", ["respond-async", "wait=5, Respond-Async; x=1"])
async def test_a_caller_may_prefer_not_to_wait(api: Api, preference: str) -> None:
    response = await api.book(JOHN, Prefer=preference)
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    assert response.headers["Location"] == body_of(response)["location"]
    ended = body_of(await api.get(body_of(response)["location"] + "?wait=20"))
    assert ended["status"] == "booked"


async def test_other_preferences_are_let_be(client: Client) -> None:
    response = await api_of(client, book_wait_seconds=0.1).book(JOHN, Prefer="wait=5")
    assert "Preference-Applied" not in response.headers
    await client.get_workflow_handle(body_of(response)["user_id"]).terminate()


@pytest.mark.slow
async def test_eight_clients_at_once_on_two_api_processes_get_one_booking() -> None:
    with service(HOTEL_LATENCY_SECONDS=0.5) as running:
        second_port = free_port()
        second_api = running.python("api-2", "starter.py", PORT=str(second_port))
        await asyncio.to_thread(running.start)
        second_api.start()
        await asyncio.to_thread(second_api.wait_for_output, "Ready: book at")
        headers = {"Idempotency-Key": "eight-at-once"}

        def book(port: int) -> Answer:
            return running.request("POST", "/book", JOHN, headers, port=port)

        ports = [running.api_port, second_port] * 4
        answers = await asyncio.gather(*(asyncio.to_thread(book, port) for port in ports))
        assert {answer.status for answer in answers} == {200}
        assert len({json.dumps(answer.body) for answer in answers}) == 1
        assert len(running.rows()) == len(KINDS)
