"""Far more requests that wait than Temporal lets a namespace have long polls, over three APIs."""

import asyncio
import re
import uuid

import aiohttp
import pytest

from tests.processes import Service, free_port, service, wait_until
from tests.telemetry.scraping import Scrape, scrape

APIS, EACH, LONG_POLLS = 3, 100, 20
ALLOWED = APIS * LONG_POLLS

TRIP = {"name": "Jo", "car": "a-car", "hotel": "a-hotel", "flight": "a-flight"}

SERVERS_METRICS = re.compile(r"Temporal Metrics: +(\S+):(\d+)/metrics")


def waiting_at(service: Service) -> float:
    """Return how many waits Temporal itself has seen at once when it was last asked for one more.

    Where there are more than it allows it refuses them, and counts them here all the same.
    """
    match = SERVERS_METRICS.search(service.temporal.output)
    assert match is not None
    # A namespace's count is told when a request comes, and each comes again after 20 seconds.
    return sum(
        value
        for name, labels, value in scrape(int(match[2])).samples()
        if name == "service_pending_requests"
        and labels.get("namespace") == "default"
        and labels["operation"] in ("GetWorkflowExecutionHistory", "PollWorkflowExecutionHistory")
    )


@pytest.mark.slow
async def test_all_are_answered_and_temporal_holds_few_of_them() -> None:
    with service(
        temporal_options=("--dynamic-config-value", f"frontend.namespaceCount={ALLOWED}"),
        BOOK_WAIT_SECONDS=180,
        MAX_LONG_POLLS=LONG_POLLS,
        MAX_OPEN_BOOKINGS=EACH,
    ) as many:
        await asyncio.to_thread(many.start_without_worker)
        ports = [many.api_port, *(_further_api(many, number) for number in range(2, APIS + 1))]
        for port in ports:
            await asyncio.to_thread(many.wait_for_temporal, port)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def book(port: int) -> str:
                """Book as clients are told to: who is to try again does, with its key."""
                url = f"http://127.0.0.1:{port}/book"
                headers = {"Idempotency-Key": uuid.uuid4().hex}
                while True:
                    async with session.post(url, json=TRIP, headers=headers) as answer:
                        # Three processes that write to SQLite at once may find it locked.
                        if answer.status != 503:
                            assert answer.status == 200, await answer.text()
                            return str((await answer.json())["result"])
                        await asyncio.sleep(int(answer.headers["Retry-After"]))

            books = [asyncio.create_task(book(port)) for port in ports * EACH]
            told = await asyncio.to_thread(_until_all_wait, ports)
            assert [each.value("booking_places_in_use", place="long_poll") for each in told] == [
                LONG_POLLS
            ] * APIS
            assert 0 < await asyncio.to_thread(waiting_at, many) <= ALLOWED
            many.workers[0].start()
            async with asyncio.timeout(180):
                answers = await asyncio.gather(*books)
        assert set(answers) == {"Booked car: a-car Booked hotel: a-hotel Booked flight: a-flight"}
        assert 0 < await asyncio.to_thread(waiting_at, many) <= ALLOWED


def _further_api(many: Service, number: int) -> int:
    port = free_port()
    many.python(f"api-{number}", "starter.py", PORT=str(port)).start()
    return port


def _until_all_wait(ports: list[int]) -> list[Scrape]:
    """Wait until every API has all the requests it was sent, and return what each tells then."""
    told: list[Scrape] = []

    def all_wait() -> bool:
        told[:] = [scrape(port) for port in ports]
        places = [each.value("booking_places_in_use", place="wait") for each in told]
        polls = [each.value("booking_places_in_use", place="long_poll") for each in told]
        return places == [EACH] * APIS and polls == [LONG_POLLS] * APIS

    wait_until(all_wait, "all requests wait")
    return told
