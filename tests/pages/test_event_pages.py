"""The page of undelivered events: what operators see and do there, and that nobody else does."""

import re

import pytest

from pages import event_pages
from tests.api.api_client import Api
from tests.api.stand_in import StandIn, over
from tests.pages.test_pages import DESK, HTMX, KEYS, SHOP


@pytest.fixture(scope="module")
def site() -> tuple[StandIn, Api]:
    bookings = StandIn()
    return bookings, over(bookings, api_keys=KEYS)


@pytest.fixture
def bookings(site: tuple[StandIn, Api]) -> StandIn:
    site[0].forget()
    return site[0]


@pytest.fixture
def keyed(site: tuple[StandIn, Api], bookings: StandIn) -> Api:
    return site[1]


def rows(page: str) -> list[list[str]]:
    """Return the words in each row of the page's table, below its head."""
    return [
        [
            re.sub("<[^>]*>", "", cell).strip()
            for cell in re.findall("<t[hd][ >].*?</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr.*?</tr>", page, re.S)[1:]
    ]


async def test_an_operator_sees_what_is_not_delivered_and_why(
    keyed: Api, bookings: StandIn
) -> None:
    bookings.happens("shop", delivery="given_up", failures=77, last_error="It answered <500>")
    bookings.happens("shop", status="cancelled", failures=1, last_error="It is away")
    bookings.happens("shop")
    bookings.happens("shop", delivery="delivered")
    page = (await keyed.get("/undelivered", headers=DESK)).text
    noon = "2026-01-31 12:00:00 UTC"
    error = "It answered &lt;500&gt;"
    assert rows(page) == [
        ["trip-1", "Booked", noon, "Given up after 77 failures", error, "Send again"],
        ["trip-2", "Cancelled", noon, "Waiting after 1 failure", "It is away", "Send again"],
        ["trip-3", "Booked", noon, "Waiting", "", "Send again"],
    ]
    assert 'href="/trips/trip-1"' in page


async def test_the_button_sends_an_event_again_with_and_without_javascript(
    keyed: Api, bookings: StandIn
) -> None:
    bookings.happens("shop", event_id="evt_a", failures=3, last_error="It answered 500")
    bookings.happens("shop", event_id="evt_b", delivery="given_up")
    page = (await keyed.get("/undelivered", headers=DESK)).text
    actions = re.findall(r'method="post" action="([^"]*)" hx-boost="true"', page)
    assert actions == ["/undelivered/evt_a/send", "/undelivered/evt_b/send"]
    for action, headers in zip(actions, (DESK, DESK | HTMX), strict=True):
        sent = await keyed.call("POST", action, headers=headers)
        assert (sent.status_code, sent.headers["Location"]) == (303, "/undelivered")
    assert {event.delivery for event in bookings.happened} == {"again"}
    assert "Every event is delivered" in (await keyed.get("/undelivered", headers=DESK)).text


async def test_a_refusal_is_told_beside_what_the_page_shows(keyed: Api, bookings: StandIn) -> None:
    bookings.happens(event_id="evt_old", delivery=None)
    for event_id, status in (("evt_unknown", 404), ("evt_old", 409)):
        refused = await keyed.call("POST", f"/undelivered/{event_id}/send", headers=DESK | HTMX)
        assert (refused.status_code, refused.headers["HX-Retarget"]) == (status, "#problem")


async def test_only_operators_see_the_page_and_that_there_is_one(
    keyed: Api, bookings: StandIn
) -> None:
    event = bookings.happens("shop")
    assert 'href="/undelivered"' in (await keyed.get("/trips", headers=DESK)).text
    for path in ("/", "/trips", "/docs"):
        assert "undelivered" not in (await keyed.get(path, headers=SHOP)).text.lower()
    refused = await keyed.get("/undelivered", headers=SHOP)
    assert (refused.status_code, event.trip_id in refused.text) == (403, False)
    send = f"/undelivered/{event.event_id}/send"
    assert (await keyed.call("POST", send, headers=SHOP)).status_code == 403
    assert (await keyed.call("POST", send)).status_code == 401
    assert 'data-wants-key="/undelivered' in (await keyed.get("/undelivered")).text
    assert bookings.happened == [event]


async def test_a_page_of_another_site_sends_nothing(keyed: Api, bookings: StandIn) -> None:
    event = bookings.happens("shop")
    foreign = DESK | {"Sec-Fetch-Site": "cross-site"}
    send = f"/undelivered/{event.event_id}/send"
    assert (await keyed.call("POST", send, headers=foreign)).status_code == 403
    assert bookings.happened == [event]


async def test_the_page_shows_the_oldest_and_says_that_there_are_more(
    keyed: Api, bookings: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_pages, "MOST", 2)
    bookings.happens()
    bookings.happens()
    assert "there are more" not in (await keyed.get("/undelivered", headers=DESK)).text
    bookings.happens()
    page = (await keyed.get("/undelivered", headers=DESK)).text
    assert (len(rows(page)), "there are more" in page) == (2, True)
