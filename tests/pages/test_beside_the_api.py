"""The pages keep what the API keeps: methods, limits, keys; and they tell what never was booked."""

import re

from temporalio.client import Client

from api.rate import WRONG_KEYS
from record import Record
from shared import KINDS
from tests.api.api_client import JOHN, Api, api_of, body_of
from tests.api.conftest import api as api
from tests.api.conftest import as_it_comes as as_it_comes
from tests.api.conftest import bookings as bookings
from tests.api.stand_in import StandIn, app_over, over
from tests.api.test_access import KEYS, OLD, bearer
from tests.workers import running_worker


async def test_the_methods_of_a_page_are_its_own(api: Api) -> None:
    allowed = (await api.call("OPTIONS", "/trips")).headers["Allow"]
    assert allowed == "GET, HEAD, OPTIONS, POST"


async def test_the_booking_page_is_where_the_public_url_leads(bookings: StandIn) -> None:
    page = await over(bookings, public_url="https://trips.example/app/é").get("/app/%C3%A9")
    assert page.headers["Content-Type"].startswith("text/html")


async def test_a_caller_that_books_too_often_is_told_on_the_page(bookings: StandIn) -> None:
    bookings.becomes = "running"
    api = over(bookings, api_keys=KEYS, bookings_per_second_per_caller=1 / 3_600)
    await api.book(JOHN, Prefer="respond-async", **bearer(OLD))
    page = await api.call("POST", "/trips", data=JOHN, headers=bearer(OLD))
    assert page.status_code == 429 and "too often" in page.text


async def test_a_page_asks_for_a_key_also_after_too_many_wrong_ones(bookings: StandIn) -> None:
    # With cookies of its own the client would send no other.
    api = Api(app_over(bookings, api_keys=KEYS).test_client(use_cookies=False))
    for _ in range(WRONG_KEYS + 1):
        page = await api.get("/trips", headers=bearer("wrong"))
    assert (page.status_code, 'id="key-form"' in page.text) == (429, True)


async def test_a_page_tells_a_step_that_never_was_booked_from_one_that_was_undone(
    client: Client, record: Record
) -> None:
    api = api_of(client)
    async with running_worker(client, record):
        trip = body_of(await api.book(JOHN | {"hotel": "invalid-hotel-id"}))
    page = (await api.get(f"/trips/{trip['user_id']}")).text
    told = ["Undone", *["Not booked"] * (len(KINDS) - 1)]
    assert re.findall("<b>(.*)</b> <span>", page) == told


async def test_a_request_of_a_page_is_counted_by_its_route(client: Client) -> None:
    api = api_of(client)
    await api.get("/static/nothing.css")
    assert 'http_route="/static/<path:filename>"' in (await api.get("/metrics")).text
