"""The events by the API's contract: `GET /events`, and to have one sent again."""

import pytest

from bookings import TemporalUnavailable
from tests.api.api_client import Api, assert_problem, body_of
from tests.api.stand_in import StandIn, over

SHOP, OTHER, DESK = (f"secret-of-{name:-<16}" for name in ("shop", "other", "desk"))
KEYS = f"shop:{SHOP},other:{OTHER},desk:{DESK}:operator"


@pytest.fixture
def keyed(bookings: StandIn) -> Api:
    return over(bookings, api_keys=KEYS)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def ids(api: Api, key: str, **query: object) -> tuple[list[str], str]:
    page = body_of(await api.get("/events", query_string=query, headers=bearer(key)))
    return [event["id"] for event in page["events"]], page["next_cursor"]


async def test_an_event_is_told_as_the_contract_says(api: Api, bookings: StandIn) -> None:
    bookings.happens(status="cancelled", sequence=2)
    assert body_of(await api.get("/events")) == {
        "events": [
            {
                "id": "evt_1",
                "type": "trip.cancelled",
                "timestamp": "2026-01-31T12:00:00Z",
                "data": {"user_id": "trip-1", "status": "cancelled", "sequence": 2},
            }
        ],
        "next_cursor": "1",
    }


async def test_a_follower_goes_on_from_the_cursor_also_where_nothing_has_happened_yet(
    api: Api, bookings: StandIn
) -> None:
    assert body_of(await api.get("/events")) == {"events": [], "next_cursor": "0"}
    followed, cursor = list[str](), "0"
    for _ in range(3):
        bookings.happens()
        bookings.happens()
        for expected in (1, 1, 0):
            query = {"after": cursor, "limit": 1}
            page = body_of(await api.get("/events", query_string=query))
            followed += [event["id"] for event in page["events"]]
            cursor = page["next_cursor"]
            assert len(page["events"]) == expected
    assert followed == [f"evt_{number}" for number in range(1, 7)]


async def test_a_caller_sees_the_events_of_its_own_trips_and_an_operator_all(
    keyed: Api, bookings: StandIn
) -> None:
    for owner in ("shop", "other", "shop"):
        bookings.happens(owner)
    assert await ids(keyed, SHOP) == (["evt_1", "evt_3"], "3")
    assert await ids(keyed, OTHER, after="2") == ([], "2")
    assert await ids(keyed, DESK, limit=2) == (["evt_1", "evt_2"], "2")
    assert_problem(await keyed.get("/events"), 401)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(({"after": after}, "after") for after in ("", "x", "-1", "1.0", " 1", "1\n", "9" * 19)),
        ({"after": "\u0661"}, "after"),
        *(({"limit": limit}, "limit") for limit in ("0", "101", "x")),
        ({"cursor": "1"}, "cursor"),
        ({"after": ["1", "2"]}, "after"),
    ],
)
async def test_a_bad_cursor_or_limit_is_named(
    api: Api, query: dict[str, str | list[str]], field: str
) -> None:
    assert_problem(await api.get("/events", query_string=query), 400, field)


async def test_an_operator_has_an_event_sent_again(keyed: Api, bookings: StandIn) -> None:
    event = bookings.happens("shop", delivery="given_up", failures=77)
    path = f"/events/{event.event_id}/redeliver"
    assert_problem(await keyed.call("POST", path, headers=bearer(SHOP)), 403)
    assert bookings.happened == [event]
    sent = body_of(await keyed.call("POST", path, headers=bearer(DESK)))
    assert sent == event.told() | {"timestamp": "2026-01-31T12:00:00Z"}
    assert bookings.happened[0].delivery == "again"


async def test_what_cannot_be_sent_again_is_told_in_clear_words(
    api: Api, bookings: StandIn
) -> None:
    unknown = await api.call("POST", "/events/evt_unknown/redeliver")
    assert_problem(unknown, 404)
    assert "no such event" in unknown.text
    before = bookings.happens(delivery=None)
    refused = await api.call("POST", f"/events/{before.event_id}/redeliver")
    assert_problem(refused, 409)
    assert "no webhook" in refused.text


async def test_while_the_record_is_away_a_follower_is_told_to_ask_again(
    api: Api, bookings: StandIn
) -> None:
    bookings.fails = TemporalUnavailable()
    assert "Retry-After" in (await api.get("/events")).headers
