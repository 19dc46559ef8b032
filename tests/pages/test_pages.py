"""The pages without a browser: what they show and refuse, and what their forms do."""

import asyncio
import datetime as dt
import html
import re
import uuid
from typing import Any, get_args

import pytest
from werkzeug.test import TestResponse

from bookings import RecordedTrip, StepProgress
from pages import trip_pages, wording
from shared import KINDS, Price, StepState, TripStatus
from tests.api.api_client import JOHN, Api
from tests.api.stand_in import ODD_IDS, StandIn, over, trip_of
from tests.processes import ROOT

SECRET = "0123456789abcdef"
KEYS = f"shop:{SECRET},desk:{SECRET[::-1]}:operator"
HTMX = {"HX-Request": "true"}
SHOP, DESK = ({"Authorization": f"Bearer {key}"} for key in (SECRET, SECRET[::-1]))


@pytest.fixture(scope="module")
def site() -> tuple[StandIn, Api, Api]:
    """What the pages ask, and the pages without keys and with keys: each compiles its templates."""
    bookings = StandIn()
    return bookings, over(bookings), over(bookings, api_keys=KEYS)


@pytest.fixture
def bookings(site: tuple[StandIn, Api, Api]) -> StandIn:
    """What the pages ask: trips that are under way."""
    site[0].forget()
    site[0].becomes = "running"
    return site[0]


@pytest.fixture
def api(site: tuple[StandIn, Api, Api], bookings: StandIn) -> Api:
    return site[1]


@pytest.fixture
def keyed(site: tuple[StandIn, Api, Api], bookings: StandIn) -> Api:
    return site[2]


def key_in(page: TestResponse) -> str:
    """Return the idempotency key of a page's form."""
    found = re.search(r'name="idempotency_key" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def test_each_kind_has_a_picture_of_its_own() -> None:
    shapes = (ROOT / "pages" / "templates" / "icons.html").read_text()
    drawn = re.findall(r'^  "(\w+)": ', shapes, re.M)
    missing = set(KINDS) - set(drawn)
    assert not missing, "pages/templates/icons.html needs a shape for each kind"


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


async def test_a_form_that_is_sent_twice_books_once_and_leads_to_its_trip(
    api: Api, bookings: StandIn
) -> None:
    key, other = [key_in(await api.get("/")) for _ in range(2)]
    assert key != other
    form = JOHN | {"idempotency_key": key}
    sent = await asyncio.gather(*(send(api, form) for _ in range(4)))
    assert {answer.status_code for answer in sent} == {303}
    (location,) = {answer.headers["Location"] for answer in sent}
    assert "John Doe" in (await api.get(location)).text
    assert len(bookings.trips) == 1
    by_htmx = await send(api, form, **HTMX)
    assert (by_htmx.status_code, by_htmx.headers["HX-Redirect"]) == (200, location)


async def test_another_trip_under_the_key_of_a_form_is_refused_and_leads_to_the_first(
    api: Api, bookings: StandIn
) -> None:
    form = new_form(attempts="")
    location = (await send(api, form)).headers["Location"]
    refused = await send(api, form | {"hotel": "another"})
    assert refused.status_code == 422
    assert "This Idempotency-Key was used with another body." in refused.text
    assert f'href="{location}"' in refused.text
    (trip,) = bookings.trips.values()
    assert trip.request == JOHN


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": " "}, "name", "must not be blank"),
        ({"attempts": "1.5"}, "attempts", "must be a whole number"),
    ],
)
async def test_what_is_bad_is_told_at_its_field_and_the_rest_stays(
    api: Api, bookings: StandIn, changes: dict[str, str], field: str, words: str
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
    assert bookings.trips == {}


async def test_what_the_api_refuses_the_form_does_not_take(api: Api, bookings: StandIn) -> None:
    for form in ({"seats": "2"}, {"name": ["John", "Jane"]}):
        assert (await send(api, JOHN | form)).status_code == 400
    assert bookings.trips == {}


async def test_a_link_fills_in_the_form(api: Api) -> None:
    page = await api.get("/", query_string={"hotel": '"><script>alert(1)</script>'})
    assert "&#34;&gt;&lt;script&gt;alert(1)" in page.text
    assert "<script>alert" not in page.text


async def test_the_examples_are_those_of_the_suppliers(bookings: StandIn) -> None:
    shown = {"embedded": "invalid-hotel-id", "simulator": "sold-out-flight", "none": ""}
    for offer, item in shown.items():
        page = (await over(bookings, page_examples=offer).get("/")).text
        assert item in page
        assert ("Examples" in page) is bool(item)


# Watching


async def test_an_open_page_is_told_once_of_each_change(api: Api, bookings: StandIn) -> None:
    trip = bookings.add("running")
    page = await api.get(f"/trips/{trip.trip_id}")
    assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
    for change in ("attempts", "undo_attempts"):
        setattr(trip.steps[0], change, 2)
        again = await api.get(live_url(page), headers=HTMX)
        assert again.status_code == 200
        assert '<p id="said" hx-swap-oob="innerHTML">' in again.text
        page = again
        assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
    bookings.set(trip.trip_id, "rolled_back", reason="Invalid hotel booking, rolling back!")
    ended = await api.get(live_url(page), headers=HTMX)
    assert "Rolled back" in ended.text
    assert "Invalid hotel booking, rolling back!" in ended.text
    assert not re.search(r"data-live\s+hx-get", ended.text), "It asks no more"


async def test_a_refusal_is_a_page_in_the_words_of_the_api(api: Api) -> None:
    for path in ("/trips/nobody", "/now/trips/nobody", "/trips?limit=0"):
        refused = await api.get(path)
        problem = await api.get(path.removeprefix("/now").replace("/trips", "/bookings"))
        assert problem.json is not None
        assert (refused.status_code, refused.mimetype) == (problem.status_code, "text/html")
        assert html.escape(problem.json["detail"]) in refused.text


async def test_an_open_page_asks_less_often_once_the_trip_takes_long(
    api: Api, bookings: StandIn
) -> None:
    now = dt.datetime.now(dt.UTC)
    young = bookings.add("running", accepted_at=now + dt.timedelta(hours=1))
    old = bookings.add("running", accepted_at=now - dt.timedelta(hours=1))
    for trip, interval in ((young, trip_pages.INTERVAL_MS), (old, trip_pages.SLOW_INTERVAL_MS)):
        assert f'hx-trigger="every {interval}ms"' in (await api.get(f"/trips/{trip.trip_id}")).text


# Listing


async def test_the_list_is_live_filtered_and_paged(api: Api, bookings: StandIn) -> None:
    def add(number: int) -> None:
        bookings.add("booked", request=JOHN | {"name": f"Traveller {number}"})

    for number in range(3):
        add(number)
    page = await api.get("/trips?limit=2&status=booked")
    assert re.findall(r"Traveller \d", page.text) == ["Traveller 2", "Traveller 1"]
    assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
    older = re.search(r'href="([^"]+)">Older', page.text)
    assert older
    assert "Traveller 0" in (await api.get(html.unescape(older[1]))).text
    assert "There are no trips here" in (await api.get("/trips?status=cancelled")).text
    add(3)
    changed = await api.get(live_url(page), headers=HTMX)
    assert re.findall(r"Traveller \d", changed.text) == ["Traveller 3", "Traveller 2"]


# Acting


async def test_a_trip_is_cancelled_from_its_page(api: Api, bookings: StandIn) -> None:
    path = f"/trips/{bookings.add('booked').trip_id}"
    assert "Yes, cancel the trip" in (await api.get(path)).text
    answer = await api.call("POST", f"{path}/cancel", headers=HTMX)
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    page = (await api.get(path)).text
    assert "Cancelled" in page and "Yes, cancel the trip" not in page
    assert re.search("<dt>Cancel</dt><dd><time [^<]+</time>, by <b>anonymous</b>", page)


async def test_every_trip_is_opened_watched_and_cancelled_from_the_list(
    api: Api, keyed: Api, bookings: StandIn
) -> None:
    for user_id in ODD_IDS:
        bookings.add("booked", trip_id=user_id)
    rows = re.findall(
        r'<th scope="row"><a id="([^"]*)" href="([^"]*)"', (await api.get("/trips")).text
    )
    assert {html.unescape(user_id) for user_id, _ in rows} == set(ODD_IDS)
    for user_id, link in rows:
        assert f'data-wants-key="{link}?' in (await keyed.get(html.unescape(link))).text
        page = await api.get(html.unescape(link))
        assert f"<code>{user_id}</code>" in page.text
        assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
        action = re.search(r'action="([^"]*)/cancel"', page.text)
        assert action and action[1] == link
        back = await api.call("POST", f"{html.unescape(link)}/cancel", headers=HTMX)
        assert (back.status_code, back.headers["Location"]) == (303, html.unescape(link))
        assert bookings.trips[html.unescape(user_id)].status == "cancelled"


async def test_a_refused_action_is_told_beside_what_the_page_shows(
    api: Api, bookings: StandIn
) -> None:
    path = f"/trips/{bookings.add('rolled_back').trip_id}"
    refused = await api.call("POST", f"{path}/cancel", headers=HTMX)
    assert refused.status_code == 409
    assert "The booking was rolled back; nothing is left to cancel." in refused.text
    assert refused.headers["HX-Retarget"] == refused.headers["HX-Reselect"] == "#problem"


async def test_an_operator_repairs_a_stuck_undo(api: Api, bookings: StandIn) -> None:
    path = f"/trips/{bookings.add('needs_attention').trip_id}"
    page = await api.get(path)
    assert "Needs attention" in page.text and "Mark as settled" in page.text
    empty = await api.call("POST", f"{path}/undo/hotel/resolve", data={"note": ""})
    assert (empty.status_code, "note: must not be empty" in empty.text) == (400, True)
    note = {"note": "By <b>phone</b>"}
    for answer in (
        await api.call("POST", f"{path}/undo/hotel/resolve", data=note),
        await api.call("POST", f"{path}/undo/car/retry"),
    ):
        assert (answer.status_code, answer.headers["Location"]) == (303, path)
    text = (await api.get(path)).text
    assert "By &lt;b&gt;phone&lt;/b&gt;" in text and "Undone" in text
    assert re.search("<dt>Settle</dt><dd>Undo of the hotel, .*, by <b>anonymous</b>", text)
    assert re.search("<dt>Retry</dt><dd>Undo of the car, .*, by <b>anonymous</b>", text)


# Keys


async def test_a_page_without_a_key_asks_for_one_and_tells_nothing(keyed: Api) -> None:
    for path in ("/", "/trips", "/trips/x?seen=1"):
        page = await keyed.get(path)
        assert page.status_code == 200
        assert 'id="key-form"' in page.text
        assert f'data-wants-key="{path}' in page.text
    for path in ("/docs", "/static/pages.css"):
        assert 'id="key-form"' not in (await keyed.get(path)).text


async def test_a_page_shows_what_its_caller_may_see_and_do(keyed: Api) -> None:
    assert (await keyed.call("POST", "/trips", data=JOHN)).status_code == 401
    location = (await keyed.call("POST", "/trips", data=JOHN, headers=DESK)).headers["Location"]
    assert (await keyed.get(location, headers=DESK)).status_code == 200
    assert (await keyed.get(location, headers=SHOP)).status_code == 404
    assert "There are no trips here" in (await keyed.get("/trips", headers=SHOP)).text
    assert "desk, operator" in (await keyed.get("/", headers=DESK)).text
    refused = await keyed.call("POST", f"{location}/undo/car/retry", headers=SHOP)
    assert (refused.status_code, "Only an operator" in refused.text) == (403, True)


async def test_what_an_open_page_asks_needs_a_key(keyed: Api) -> None:
    wrong = await keyed.get("/trips", headers=HTMX | {"Authorization": "Bearer wrong"})
    assert "This key is not valid here." in wrong.text
    refused = await keyed.get("/now/trips")
    assert wrong.status_code == refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


async def test_every_page_and_file_is_safe_from_other_sites(api: Api) -> None:
    for path in ("/", "/trips/x", "/docs", "/static/pages.css", "/static/no.css"):
        assert (await api.get(path, headers={"Host": "evil.example"})).status_code == 403
        headers = (await api.get(path)).headers
        assert headers["Answered-By"] == "trip-booking"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_file_is_kept_for_long_under_its_own_mark_alone(api: Api) -> None:
    """While old and new processes share a port, one is asked for what a page of the other loads."""
    page = (await api.get("/")).text
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert loaded
    for url in loaded:
        assert "?v=" in url
        file = await api.get(html.unescape(url))
        assert (file.status_code, file.cache_control.max_age) == (200, 365 * 24 * 3600)
        path, _, mark = html.unescape(url).partition("?v=")
        for other in (f"?v={mark[::-1]}", f"?v={mark}0", f"?V={mark}", "?v=", ""):
            file = await api.get(path + other)
            assert (file.status_code, file.headers["Cache-Control"]) == (200, "no-store")
    assert (await api.get("/static/new.js?v=1")).headers["Cache-Control"] == "no-store"


# Holding


def held_for(bookings: StandIn, seconds: float, **changes: Any) -> str:
    """Add a trip that is held for so long, and return its page."""
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    price = Price("120.00", "EUR")
    steps = [StepProgress(kind, "x", "held", 1, price=price) for kind in KINDS]
    values: dict[str, Any] = {"expires_at": end, "steps": steps}
    trip = bookings.add("held", **values | changes)
    return f"/trips/{trip.trip_id}"


async def test_the_page_of_a_held_trip_tells_price_and_time_and_confirms_it(
    api: Api, bookings: StandIn
) -> None:
    path = held_for(bookings, 899)
    page = await api.get(path)
    assert "Held for another 14 min<" in page.text
    assert page.text.count('<p class="price">120.00 EUR</p>') == len(KINDS)
    total = f"{120 * len(KINDS)}.00 EUR"
    assert f"<dt>Price</dt><dd>{total}</dd>" in page.text
    assert f"It costs <b>{total}</b>." in page.text
    assert "<dt>Held until</dt>" in page.text
    assert "Yes, cancel the trip" in page.text
    assert f'action="{path}/confirm"' in page.text
    answer = await api.call("POST", f"{path}/confirm", headers=HTMX)
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    page = await api.get(path)
    assert "Everything is booked" in page.text
    assert "Confirm and book" not in page.text and "Held until" not in page.text


@pytest.mark.parametrize("status", [status for status in get_args(TripStatus) if status != "held"])
async def test_only_a_held_trip_has_a_button_to_confirm(
    api: Api, bookings: StandIn, status: TripStatus
) -> None:
    path = f"/trips/{bookings.add(status).trip_id}"
    assert "Confirm and book" not in (await api.get(path)).text
    refused = await api.call("POST", f"{path}/confirm", headers=HTMX)
    assert refused.status_code == 409
    assert "it is not held." in html.unescape(refused.text)
    assert refused.headers["HX-Retarget"] == "#problem"


async def test_the_page_of_an_expired_trip_tells_that_nothing_is_held(
    api: Api, bookings: StandIn
) -> None:
    path = f"/trips/{bookings.add('expired', reason='It was not confirmed in time').trip_id}"
    page = (await api.get(path)).text
    assert "Expired" in page and "Nothing is held" in page and "not confirmed in time" in page
    assert "<dt>Held until</dt>" in page
    assert "Yes, cancel the trip" not in page
    assert not re.search(r"data-live\s+hx-get", page), "It asks no more"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86_399, "Held for another 23 h 59 min"),
        (179, "Held for another 2 min"),
        (119, "Held for another 1 min 50 s"),
        (69, "Held for another 1 min"),
        (59, "Held for another 50 s"),
        (9, "Its time is up"),
        (-60, "Its time is up"),
    ],
)
def test_the_time_that_is_left_is_told_in_round_figures(seconds: float, words: str) -> None:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds + 0.9)
    assert wording.motion(RecordedTrip(**trip_of("held", "", "x") | {"expires_at": end})) == words


async def test_an_open_page_is_told_when_less_time_is_left(api: Api, bookings: StandIn) -> None:
    page = await api.get(held_for(bookings, 899))
    assert (await api.get(live_url(page), headers=HTMX)).status_code == 204
    (trip,) = bookings.trips.values()
    assert trip.expires_at is not None
    bookings.set(trip.trip_id, "held", expires_at=trip.expires_at - dt.timedelta(seconds=60))
    again = await api.get(live_url(page), headers=HTMX)
    assert "Held for another 13 min" in again.text


async def test_the_form_books_at_once_or_holds(api: Api, bookings: StandIn) -> None:
    for chosen, seconds in (("", None), ("900", 900)):
        assert (await send(api, new_form(hold_seconds=chosen))).status_code == 303
        assert [*bookings.trips.values()][-1].request.get("hold_seconds") == seconds
    refused = await send(api, new_form(hold_seconds="900", name=" "))
    assert '<option value="900" selected>' in refused.text
    assert (await send(api, new_form(hold_seconds="59"))).status_code == 400


async def test_the_examples_have_trips_to_hold(bookings: StandIn) -> None:
    for offer, holds in {"embedded": 0, "simulator": 2}.items():
        page = await over(bookings, page_examples=offer).get("/")
        links = re.findall(r'href="(/\?[^"]+)"', page.text)
        held = [html.unescape(link) for link in links if "hold_seconds=900" in link]
        assert len(held) == holds
        for link in held:
            form = await over(bookings, page_examples=offer).get(link)
            assert '<option value="900" selected>' in form.text


async def test_refunds_are_shown(api: Api, bookings: StandIn) -> None:
    price, refund = Price("120.00", "EUR"), Price("60.50", "EUR")
    steps = [StepProgress("car", "x", "undone", 1, 1, price=price, refund=refund)]
    path = f"/trips/{bookings.add('cancelled', steps=steps).trip_id}"
    assert "120.00 EUR, refunded 60.50 EUR" in (await api.get(path)).text


# Words


def test_each_state_has_words() -> None:
    assert set(wording.STATES) == set(get_args(StepState))
    assert set(wording.STATUSES) == set(wording.STATUS_SYMBOLS) == set(get_args(TripStatus))


@pytest.mark.parametrize(
    ("status", "hotel", "words"),
    [
        ("running", "booking", "Waiting"),
        ("running", "undoing", "Not booked"),
        ("cancelled", "undone", "Not booked"),
        ("cancelled", "pending", "Not booked"),
        ("rolled_back", "failed", "Not booked"),
        ("needs_attention", "stuck", "Not booked"),
    ],
)
def test_a_step_waits_only_while_its_trip_may_come_to_it(
    status: TripStatus, hotel: StepState, words: str
) -> None:
    flight = StepProgress("flight", "x", "pending", 0)
    trip = RecordedTrip(
        **trip_of(status, "", "x") | {"steps": [StepProgress("hotel", "x", hotel), flight]}
    )
    assert wording.state(flight, trip) == words


@pytest.mark.parametrize(
    ("times", "words", "look", "effort"),
    [
        ({}, "Not booked", "failed", "after 3 tries"),
        ({"booking_seconds": 0.2}, "Undone", "undone", ""),
        # Nobody knew whether its supplier held it, so it was told to undo it.
        ({"undo_seconds": 0.2}, "Undone", "undone", "in 0.2 s"),
    ],
)
def test_what_never_was_booked_was_not_undone(
    times: dict[str, Any], words: str, look: StepState, effort: str
) -> None:
    hotel = StepProgress("hotel", "x", "undone", 3, undo_attempts=1, **times)
    trip = RecordedTrip(**trip_of("rolled_back", "", "x"))
    assert (wording.state(hotel, trip), wording.look(hotel)) == (words, look)
    assert wording.effort(hotel) == effort


@pytest.mark.parametrize(
    ("step", "now", "before"),
    [
        (StepProgress("car", "x", "booking", attempts=2), "try 2", ""),
        (
            StepProgress("car", "x", "booked", 3, booking_seconds=61.4),
            "after 3 tries, in 1 min 1 s",
            "",
        ),
        (StepProgress("car", "x", "booked", 1), "", ""),
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
