"""The pages without a browser: what they show and refuse, and what their forms do."""

import asyncio
import html
import re
import threading
import uuid
from typing import Any

import pytest
from temporalio.client import Client
from werkzeug.test import TestResponse

from api import places
from bookings import Bookings
from pages import wording
from shared import KINDS, StepProgress, StepState
from tests.api.api_client import JOHN, Api, api_of, listed, start_stuck
from tests.faults import FaultyRecord, Gate

SECRET = "0123456789abcdef"
KEYS = f"shop:{SECRET},desk:{SECRET[::-1]}:operator"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client, undo_attempts=1, stuck_retry_interval_seconds=600)


def key_in(page: TestResponse) -> str:
    """Return the idempotency key of a page's form."""
    found = re.search(r'name="idempotency_key" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def new_form(**changes: str) -> dict[str, Any]:
    return JOHN | {"idempotency_key": uuid.uuid4().hex} | changes


async def send(api: Api, form: dict[str, Any], **headers: str) -> TestResponse:
    return await api.call("POST", "/trips", data=form, headers=headers)


def live_url(page: TestResponse) -> str:
    """Return what an open page asks for again and again."""
    found = re.search(r'data-live\s+hx-get="([^"]+)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


# Booking


async def test_each_form_has_a_key_of_its_own(api: Api) -> None:
    first, second = [key_in(await api.get("/")) for _ in range(2)]
    assert first != second


@pytest.mark.usefixtures("worker")
async def test_a_form_that_is_sent_twice_books_once_and_leads_to_its_trip(api: Api) -> None:
    form = JOHN | {"idempotency_key": key_in(await api.get("/"))}
    sent = await asyncio.gather(*(send(api, form) for _ in range(4)))
    assert {answer.status_code for answer in sent} == {303}
    (location,) = {answer.headers["Location"] for answer in sent}
    assert "John Doe" in (await api.get(location)).text
    assert len(await listed(api)) == 1
    by_htmx = await send(api, form, **HTMX)
    assert (by_htmx.status_code, by_htmx.headers["HX-Redirect"]) == (200, location)


async def test_a_form_without_attempts_takes_the_default(api: Api) -> None:
    await send(api, JOHN | {"attempts": ""})
    (trip,) = await listed(api)
    assert trip["name"] == "John Doe"


async def test_another_trip_under_the_key_of_a_form_is_refused_and_leads_to_the_first(
    api: Api,
) -> None:
    form = new_form()
    location = (await send(api, form)).headers["Location"]
    refused = await send(api, form | {"hotel": "another"})
    assert refused.status_code == 422
    assert "This Idempotency-Key was used with another body." in refused.text
    assert f'href="{location}"' in refused.text
    assert len(await listed(api)) == 1


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": " "}, "name", "must not be blank"),
        ({"car": ""}, "car", "must not be empty"),
        ({"attempts": "0"}, "attempts", "must be a whole number"),
        ({"attempts": "1.5"}, "attempts", "must be a whole number"),
    ],
)
async def test_what_is_bad_is_told_at_its_field_and_the_rest_stays(
    api: Api, changes: dict[str, str], field: str, words: str
) -> None:
    form = new_form(**changes)
    refused = await send(api, form)
    assert refused.status_code == 400
    found = re.search(rf'id="{field}-error">.*?</span>', refused.text, re.DOTALL)
    assert found and words in found[0]
    assert f'aria-describedby="{field}-error"' in refused.text
    assert refused.text.count("aria-invalid") == 1
    assert 'value="valid-flight-id"' in refused.text
    assert key_in(refused) == form["idempotency_key"]
    assert await listed(api) == []


@pytest.mark.parametrize("form", [{"seats": "2"}, {"name": ["John", "Jane"]}])
async def test_what_the_api_refuses_the_form_does_not_take(api: Api, form: dict[str, Any]) -> None:
    assert (await send(api, JOHN | form)).status_code == 400
    assert await listed(api) == []


async def test_a_link_fills_in_the_form(api: Api) -> None:
    page = await api.get("/", query_string={"hotel": '"><script>alert(1)</script>'})
    assert "&#34;&gt;&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    ("offer", "shown"), [("embedded", "invalid-hotel-id"), ("simulator", "sold-out-flight")]
)
async def test_the_examples_are_those_of_the_suppliers(
    client: Client, offer: str, shown: str
) -> None:
    assert shown in (await api_of(client, page_examples=offer).get("/")).text


async def test_a_service_may_offer_no_examples(client: Client) -> None:
    assert "Examples" not in (await api_of(client, page_examples="none").get("/")).text


# Watching


@pytest.mark.usefixtures("worker")
async def test_an_open_page_is_told_once_of_each_change(api: Api) -> None:
    form = new_form(hotel="invalid-hotel-id")
    page = await api.get((await send(api, form)).headers["Location"])
    async with asyncio.timeout(20):
        while "data-live hx-get" in page.text or re.search(r"data-live\s+hx-get", page.text):
            again = await api.get(live_url(page), headers=HTMX)
            assert again.status_code in (200, 204)
            page = again if again.status_code == 200 else page
    assert "Rolled back" in page.text
    assert "Invalid hotel booking, rolling back!" in page.text
    assert '<p id="said" hx-swap-oob="innerHTML">' in page.text


async def test_open_pages_take_no_place_that_bookings_need(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LOOKS_AT_ONCE", 2)
    api = api_of(client)
    location = (await send(api, new_form())).headers["Location"]
    begun, go_on = threading.Semaphore(0), threading.Event()

    async def hang(*_: object) -> None:
        begun.release()
        await asyncio.to_thread(go_on.wait, 20)

    monkeypatch.setattr(Bookings, "look_again", hang)
    looks = [asyncio.create_task(api.get(f"{location}/now")) for _ in range(2)]
    try:
        for _ in looks:
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        assert (await api.get(f"{location}/now")).status_code == 503
        assert (await api.get("/trips/now")).status_code == 503
        assert (await api.get("/bookings")).status_code == 200
    finally:
        go_on.set()
    assert [look.status_code for look in await asyncio.gather(*looks)] == [204, 204]


@pytest.mark.parametrize("path", ["/trips/nobody", "/trips/nobody/now", "/trips?limit=0"])
async def test_a_refusal_is_a_page_in_the_words_of_the_api(api: Api, path: str) -> None:
    refused = await api.get(path)
    problem = await api.get(path.replace("/now", "").replace("/trips", "/bookings"))
    assert refused.status_code == problem.status_code
    assert problem.json is not None
    assert html.escape(problem.json["detail"]) in refused.text
    assert refused.mimetype == "text/html"


# Listing


@pytest.mark.usefixtures("worker")
async def test_the_list_is_live_filtered_and_paged(api: Api) -> None:
    for number in range(3):
        await api.book(JOHN | {"name": f"Traveller {number}"})
    page = await api.get("/trips?limit=2&status=booked")
    assert re.findall(r"Traveller \d", page.text) == ["Traveller 2", "Traveller 1"]
    assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
    older = re.search(r'href="([^"]+)">Older', page.text)
    assert older
    assert "Traveller 0" in (await api.get(html.unescape(older[1]))).text
    assert "There are no trips here" in (await api.get("/trips?status=cancelled")).text
    await api.book(JOHN | {"name": "Traveller 3"})
    changed = await api.get(live_url(page), headers=HTMX)
    assert re.findall(r"Traveller \d", changed.text) == ["Traveller 3", "Traveller 2"]


# Acting


@pytest.mark.usefixtures("worker")
async def test_a_trip_is_cancelled_from_its_page(api: Api) -> None:
    user_id = (await api.book(JOHN)).json["user_id"]  # type: ignore[index]
    assert "Yes, cancel the trip" in (await api.get(f"/trips/{user_id}")).text
    answer = await api.call("POST", f"/trips/{user_id}/cancel", headers=HTMX)
    assert answer.headers["Location"] == f"/trips/{user_id}"
    page = (await api.get(f"/trips/{user_id}")).text
    assert "Cancelled" in page and "Yes, cancel the trip" not in page


@pytest.mark.usefixtures("worker")
async def test_a_refused_action_is_told_beside_what_the_page_shows(api: Api) -> None:
    user_id = (await api.book(JOHN | {"car": "invalid"})).json["user_id"]  # type: ignore[index]
    refused = await api.call("POST", f"/trips/{user_id}/cancel", headers=HTMX)
    assert refused.status_code == 409
    assert "The booking was rolled back; nothing is left to cancel." in refused.text
    assert refused.headers["HX-Retarget"] == refused.headers["HX-Reselect"] == "#problem"


async def test_an_operator_settles_a_stuck_undo(api: Api, faults: FaultyRecord) -> None:
    path = (await start_stuck(api, faults)).replace("/bookings/", "/trips/")
    page = await api.get(path)
    assert "Needs attention" in page.text and "Mark as settled" in page.text
    empty = await api.call("POST", f"{path}/undo/hotel/resolve", data={"note": ""})
    assert (empty.status_code, "note: must not be empty" in empty.text) == (400, True)
    await api.call("POST", f"{path}/undo/hotel/resolve", data={"note": "By <b>phone</b>"})
    assert "By &lt;b&gt;phone&lt;/b&gt;" in (await api.get(path)).text


async def test_a_stuck_undo_is_tried_again_from_the_page(api: Api, faults: FaultyRecord) -> None:
    path = (await start_stuck(api, faults)).replace("/bookings/", "/trips/")
    faults.faults["cancel", "hotel"] = gate = Gate()
    retried = asyncio.create_task(api.call("POST", f"{path}/undo/hotel/retry"))
    await gate.reached()
    assert (await retried).status_code == 303
    await gate.open()


# Keys


@pytest.mark.parametrize("path", ["/", "/trips", "/trips/x", "/trips/x?seen=1"])
async def test_a_page_without_a_key_asks_for_one_and_tells_nothing(
    client: Client, path: str
) -> None:
    page = await api_of(client, api_keys=KEYS).get(path)
    assert page.status_code == 200
    assert 'id="key-form"' in page.text
    assert f'data-wants-key="{path}' in page.text


async def test_a_wrong_key_is_refused_in_words(client: Client) -> None:
    headers = HTMX | {"Authorization": "Bearer wrong"}
    refused = await api_of(client, api_keys=KEYS).get("/trips", headers=headers)
    assert refused.status_code == 401
    assert "This key is not valid here." in refused.text


async def test_a_page_shows_what_its_caller_may_see_and_do(
    client: Client, faults: FaultyRecord
) -> None:
    keyed = api_of(client, api_keys=KEYS, undo_attempts=1, stuck_retry_interval_seconds=600)
    shop, desk = ({"Authorization": f"Bearer {key}"} for key in (SECRET, SECRET[::-1]))
    assert (await keyed.call("POST", "/trips", data=JOHN)).status_code == 401
    location = (await keyed.call("POST", "/trips", data=JOHN, headers=desk)).headers["Location"]
    assert (await keyed.get(location, headers=desk)).status_code == 200
    assert (await keyed.get(location, headers=shop)).status_code == 404
    assert "There are no trips here" in (await keyed.get("/trips", headers=shop)).text
    assert "desk, operator" in (await keyed.get("/", headers=desk)).text
    refused = await keyed.call("POST", f"{location}/undo/car/retry", headers=shop)
    assert (refused.status_code, "Only an operator" in refused.text) == (403, True)


@pytest.mark.parametrize("path", ["/docs", "/static/pages.css"])
async def test_what_tells_of_no_trip_needs_no_key(client: Client, path: str) -> None:
    assert (await api_of(client, api_keys=KEYS).get(path)).status_code == 200


async def test_what_an_open_page_asks_needs_a_key(client: Client) -> None:
    refused = await api_of(client, api_keys=KEYS).get("/trips/now")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/", "/trips", "/trips/x", "/docs", "/static/pages.js"])
async def test_without_keys_a_foreign_host_name_is_refused(api: Api, path: str) -> None:
    assert (await api.get(path, headers={"Host": "evil.example"})).status_code == 403


@pytest.mark.parametrize("path", ["/", "/trips/x", "/docs", "/static/pages.css", "/static/no.css"])
async def test_every_page_and_file_carries_the_security_headers(api: Api, path: str) -> None:
    headers = (await api.get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_file_is_kept_for_long_and_asked_for_by_its_content(api: Api) -> None:
    page = (await api.get("/")).text
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert loaded
    for url in loaded:
        assert "?v=" in url
        file = await api.get(html.unescape(url))
        assert (file.status_code, file.cache_control.max_age) == (200, 365 * 24 * 3600)


# Words


STATES: tuple[StepState, ...] = tuple(wording.STATES)


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_words_and_a_symbol(state: StepState) -> None:
    assert wording.STATES[state]
    assert wording.effort(StepProgress(KINDS[0], "item", state, attempts=1)) == ""


@pytest.mark.parametrize(
    ("step", "now", "before"),
    [
        (StepProgress("car", "x", "booking", attempts=2), "try 2", ""),
        (
            StepProgress("car", "x", "booked", attempts=3, booking_seconds=61.4),
            "after 3 tries, in 1 min 1 s",
            "",
        ),
        (
            StepProgress("car", "x", "undoing", 2, undo_attempts=3, booking_seconds=0.25),
            "try 3",
            "Its booking took 0.2 s and 2 tries",
        ),
        (
            StepProgress("car", "x", "undone", 1, undo_attempts=1, undo_seconds=3_725.0),
            "in 1 h 2 min",
            "",
        ),
    ],
)
def test_a_step_tells_its_tries_and_their_time(step: StepProgress, now: str, before: str) -> None:
    assert (wording.effort(step), wording.effort_before(step)) == (now, before)
