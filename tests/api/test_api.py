"""The HTTP API by its contract: requests, answers, and what every answer carries."""

import asyncio
import json
import re
from typing import Any

import pytest

from api.problems import SECURITY_HEADERS
from bookings import RecordedTrip, TemporalUnavailable
from shared import KINDS
from tests.api.api_client import JOHN, JSON, Api, assert_problem, body_of, listed
from tests.api.stand_in import NOON, StandIn, app_over, over, until_waiting
from tests.encrypting import setting

NOTE = {"note": "Cancelled by phone."}

# Booking


async def test_a_booked_trip_answers_as_the_contract_says(api: Api) -> None:
    response = await api.book(JOHN)
    assert response.status_code == 200
    assert response.json is not None
    user_id = response.json["user_id"]
    assert re.fullmatch(r"john-doe-\d{29}", user_id)
    further: list[str] = [*KINDS[3:]]
    assert response.json == {
        "cancelled": False,
        "user_id": user_id,
        "car": "Car: valid-car-id",
        "hotel": "Hotel: valid-hotel-id",
        "flight": "Flight: valid-flight-id",
        **{kind: f"{kind.capitalize()}: valid-{kind}-id" for kind in further},
        "result": " ".join(
            [
                *("Booked car: valid-car-id", "Booked hotel: valid-hotel-id"),
                "Booked flight: valid-flight-id",
                *(f"Booked {kind}: valid-{kind}-id" for kind in further),
            ]
        ),
    }


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"status": "running", "cancelled_at": NOON}, {"cancelled_later": True}),
        ({"status": "cancelled", "cancelled_at": NOON}, {"cancelled_later": True}),
        ({"status": "needs_attention", "cancelled_at": NOON}, {"cancelled_later": True}),
        # Its order reached Temporal when the trip was just booked; the audit begins to undo it.
        ({"status": "booked", "cancel_asked_at": NOON}, {"cancelled_later": True}),
        # By the CLI, while the workflow told the record that the trip is booked.
        ({"status": "cancelled"}, {"cancelled_later": True}),
        # The audit has found a difference.
        ({"status": "needs_attention"}, {}),
    ],
)
async def test_a_repeated_key_tells_the_outcome_and_whether_the_trip_was_cancelled_later(
    api: Api, bookings: StandIn, now: dict[str, Any], told: dict[str, Any]
) -> None:
    booked = body_of(await api.book(JOHN, Idempotency_Key="once"))
    bookings.set(booked["user_id"], **{"booked_at": NOON} | now)
    again = await api.book(JOHN, Idempotency_Key="once")
    assert (again.status_code, body_of(again)) == (200, booked | told)


async def test_a_rolled_back_trip_answers_200_with_the_root_cause(
    api: Api, bookings: StandIn
) -> None:
    bookings.becomes, bookings.reason = "rolled_back", "Invalid car booking, rolling back!"
    response = await api.book(JOHN)
    assert response.status_code == 200
    assert response.json == {
        "cancelled": True,
        "user_id": next(iter(bookings.trips)),
        "result": "Voyage cancelled",
        "reason": "Invalid car booking, rolling back!",
    }


@pytest.mark.parametrize(
    "changes",
    [
        *({"attempts": good} for good in ("5", 5.0, 1, 100)),
        *({"name": good} for good in ("Zoë 漢字 🧳", "🧳", "\u202eشخص ما", "x" * 200)),
        {"name": "🧳" * 200, **{str(kind): "🧳" * 200 for kind in KINDS}},
        {"car": "a b/c?d#e%f"},
    ],
    ids=lambda changes: ascii(changes)[:40],
)
async def test_unusual_but_good_input_is_booked(
    api: Api, bookings: StandIn, changes: dict[str, Any]
) -> None:
    booked = body_of(await api.book(JOHN | changes))
    assert re.fullmatch(r"[a-z0-9-]{1,40}-\d{29}", booked["user_id"])
    asked = JOHN | changes
    wanted = bookings.trips[booked["user_id"]].request
    assert wanted == asked | {"attempts": int(asked["attempts"])}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *(({"name": bad}, "name") for bad in ("", " \t", "x" * 201, None, 5, "a\0b")),
        ({"car": "a\nb"}, "car"),
        ({"flight": ["x"]}, "flight"),
        *(
            ({"attempts": bad}, "attempts")
            for bad in (0, 101, -1, 1.5, True, "five", "0", "", "٥", None, 10**300)
        ),
        *(({name: 1}, name) for name in ("colour", "\0", "\u202e", "🧳", "a.b", "")),
    ],
    ids=ascii,
)
async def test_a_bad_field_is_named_and_starts_nothing(
    api: Api, bookings: StandIn, changes: dict[str, Any], field: str
) -> None:
    assert_problem(await api.book(JOHN | changes), 400, field)
    assert bookings.trips == {}


async def test_every_field_but_the_attempts_is_required(api: Api, bookings: StandIn) -> None:
    assert_problem(await api.book({}), 400, "name", *KINDS)
    body_of(await api.book({key: JOHN[key] for key in JOHN if key != "attempts"}))
    (trip,) = bookings.trips.values()
    assert trip.request["attempts"] == 5


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"{}"', b"null", b"\xff\xfe{}", b"\xef\xbb\xbf{}"),
        b'{"hotel": "\xed\xa0\x80"}',
        rb'{"hotel": "\ud800"}',
        *(b'{"attempts": %s}' % number for number in (b"NaN", b"1e999", b"9" * 5000)),
        b"[" * 16_000,
        b'{"name": ' * 1500,
    ],
    ids=lambda body: ascii(body[:30]),
)
async def test_a_bad_body_is_a_clear_400(api: Api, body: bytes) -> None:
    response = await api.book_raw(body)
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert response.json is not None and response.json["errors"]


async def test_a_field_that_stands_twice_is_refused(api: Api, bookings: StandIn) -> None:
    body = json.dumps(JOHN).encode()
    response = await api.book_raw(body[:-1] + b', "hotel": "another-hotel-id"}')
    assert_problem(response, 400, "hotel")
    assert not bookings.trips


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=UTF-8", 200),
        ("application/json; charset=utf8", 200),
        ('application/json;charset="utf_8"', 200),
        ("Application/JSON", 200),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
    ],
)
async def test_only_json_in_utf_8_is_taken(api: Api, content_type: str, status: int) -> None:
    body = json.dumps(JOHN).encode()
    answer = await api.book_raw(body, {"Content-Type": content_type} if content_type else {})
    assert answer.status_code == status


async def test_a_body_over_16_kib_is_413(api: Api) -> None:
    assert_problem(await api.book_raw(b" " * (16 * 1024 + 1)), 413)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/book", {"POST", "OPTIONS"}), ("DELETE", "/livez", {"GET", "HEAD", "OPTIONS"})],
)
async def test_another_method_is_405_and_tells_the_right_ones(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    response = await api.call(method, path)
    assert_problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


async def test_the_methods_of_a_path_are_its_own(api: Api) -> None:
    for path, methods in {
        "/bookings/a/cancel": "OPTIONS, POST",
        "/bookings/a": "GET, HEAD, OPTIONS",
    }.items():
        assert (await api.call("OPTIONS", path)).headers["Allow"] == methods


@pytest.mark.parametrize(
    ("keys", "prefix"), [("new", "trip-"), ("", "john-doe-"), ("plain,new", "john-doe-")]
)
async def test_ids_tell_names_only_while_nothing_is_encrypted(
    bookings: StandIn, caplog: pytest.LogCaptureFixture, keys: str, prefix: str
) -> None:
    api = over(bookings, payload_keys=setting(*filter(None, keys.split(","))))
    user_id = body_of(await api.book(JOHN))["user_id"]
    assert re.fullmatch(prefix + r"\d{29}", user_id)
    # The client here encrypts nothing, whatever the settings say.
    assert ("names go to Temporal in clear" in caplog.text) is (keys == "new")


# Waiting


async def test_a_trip_that_outlasts_the_wait_is_202_with_its_place(bookings: StandIn) -> None:
    bookings.becomes = "running"
    preference = "handling=strict, respond-asynchronously"
    response = await over(bookings, book_wait_seconds=0.05).book(JOHN, Prefer=preference)
    assert response.status_code == 202
    (user_id,) = bookings.trips
    location = f"/bookings/{user_id}"
    assert response.json == {"user_id": user_id, "status": "running", "location": location}
    assert response.headers["Location"] == location
    assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize("preference", ["respond-async", "wait=10, Respond-Async; foo=1"])
async def test_a_caller_may_prefer_not_to_wait_for_what_is_not_over(
    api: Api, bookings: StandIn, preference: str
) -> None:
    for status in ("running", "needs_attention"):
        bookings.becomes = status
        response = await api.book(JOHN, Prefer=preference)
        assert (response.status_code, body_of(response)["status"]) == (202, status)
        assert response.headers["Location"] == body_of(response)["location"]
        assert response.headers["Preference-Applied"] == "respond-async"
    bookings.becomes = "booked"
    over_already = await api.book(JOHN, Prefer=preference)
    assert (over_already.status_code, body_of(over_already)["cancelled"]) == (200, False)
    assert "Preference-Applied" not in over_already.headers


@pytest.mark.parametrize(
    ("preference", "seconds", "applied"),
    [
        ("wait=7", 7, "wait=7"),
        ('Wait = "7"; foo=1, handling=strict', 7, "wait=7"),
        ("wait=0", 0, "wait=0"),
        ("wait=25", 25, None),
        ("wait=60", 25, None),
        ("wait=soon", 25, None),
        (f"wait={'9' * 5_000}", 25, None),
    ],
    ids=lambda given: str(given)[:30],
)
async def test_a_caller_may_prefer_to_wait_for_less(
    monkeypatch: pytest.MonkeyPatch,
    api: Api,
    bookings: StandIn,
    preference: str,
    seconds: float,
    applied: str | None,
) -> None:
    waited = given_up_at_once(monkeypatch, bookings)
    bookings.becomes = "running"
    response = await api.book(JOHN, Prefer=preference)
    assert (response.status_code, waited) == (202, [seconds])
    assert response.headers.get("Preference-Applied") == applied


async def test_no_request_waits_longer_than_proxies_do(
    monkeypatch: pytest.MonkeyPatch, api: Api, bookings: StandIn
) -> None:
    waited = given_up_at_once(monkeypatch, bookings)
    path = f"/bookings/{bookings.add('running').trip_id}"
    for wait in ("60", "25", "1.5"):
        await api.get(f"{path}?wait={wait}")
    await api.call("POST", f"{path}/cancel")
    assert waited == [25, 25, 1.5, 25]


def given_up_at_once(monkeypatch: pytest.MonkeyPatch, bookings: StandIn) -> list[float]:
    """Have no request wait, and return for how long each would have."""
    waited: list[float] = []

    async def note(trip: RecordedTrip, seconds: float, _gone: object) -> RecordedTrip:
        waited.append(seconds)
        return trip

    monkeypatch.setattr(bookings, "_after", note)
    return waited


async def test_a_look_up_that_waits_returns_as_soon_as_the_trip_ends(
    api: Api, bookings: StandIn
) -> None:
    path = f"/bookings/{bookings.add('running').trip_id}"
    assert body_of(await api.get(f"{path}?wait=0.05"))["status"] == "running"
    waiting = asyncio.create_task(api.get(f"{path}?wait=60"))
    await until_waiting(bookings, 1)
    async with asyncio.timeout(20):
        bookings.set(next(iter(bookings.trips)), "booked")
        bookings.end_waits()
        assert body_of(await waiting)["status"] == "booked"


# Looking up


@pytest.mark.parametrize("url", ["https://trips.example", "https://trips.example/app/"])
async def test_links_lead_to_where_people_reach_the_service(bookings: StandIn, url: str) -> None:
    api = over(bookings, public_url=url)
    bookings.becomes = "running"
    accepted = await api.book(JOHN, Prefer="respond-async")
    body = body_of(accepted)
    location = f"{url.removesuffix('/')}/bookings/{body['user_id']}"
    assert accepted.headers["Location"] == body["location"] == location
    (row,) = await listed(api)
    assert row["links"]["self"] == location
    bookings.fails_after_acceptance = TemporalUnavailable()
    lost = await api.book(JOHN)
    assert lost.json and lost.json["location"].startswith(f"{url.removesuffix('/')}/bookings/")
    document = body_of(await api.get("/openapi.json"))
    assert document["servers"][0]["url"] == url.removesuffix("/")


async def test_the_path_of_the_public_url_may_come_or_be_stripped(bookings: StandIn) -> None:
    api = over(bookings, public_url="https://trips.example/app/é")
    for path in ("/app/%C3%A9/livez", "/livez"):
        assert (await api.get(path)).status_code == 200
    assert_problem(await api.get("/app/%C3%A9x/livez"), 404)


async def test_a_look_up_tells_how_the_trip_and_its_steps_stand(
    api: Api, bookings: StandIn
) -> None:
    trip = bookings.add("booked")
    hotel = trip.steps[1]
    hotel.attempts, hotel.last_error = 2, "Hotel service is down. Retrying..."
    hotel.reference, hotel.booking_seconds = "HX-1", 2.5
    car = {
        "kind": "car",
        "item": "valid-car-id",
        "state": "booked",
        "attempts": 1,
        "undo_attempts": 0,
        "last_error": None,
        "note": None,
        "reference": None,
        "booking_seconds": None,
        "undo_seconds": None,
        "price": None,
        "refund": None,
    }
    path = f"/bookings/{trip.trip_id}"
    assert body_of(await api.get(path)) == {
        "user_id": trip.trip_id,
        "status": "booked",
        "reason": None,
        "expires_at": None,
        "price": None,
        "steps": [
            car,
            car
            | {"kind": "hotel", "item": "valid-hotel-id"}
            | {"attempts": 2, "last_error": hotel.last_error}
            | {"reference": "HX-1", "booking_seconds": 2.5},
            *(car | {"kind": kind, "item": f"valid-{kind}-id"} for kind in KINDS[2:]),
        ],
        "reservations": {kind: JOHN[kind] for kind in KINDS},
        "actions": [],
        "started_at": "2026-01-31T12:00:00Z",
        "closed_at": "2026-01-31T12:00:02Z",
        "links": {
            "self": path,
            "web_ui": "http://localhost:8233/namespaces/default/workflows/"
            f"{trip.trip_id}/a-run/timeline",
        },
    }


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan", "", "1&wait=2"])
async def test_a_bad_wait_is_a_400(api: Api, wait: str) -> None:
    assert_problem(await api.get(f"/bookings/any?wait={wait}"), 400, "wait")
    assert_problem(await api.get("/bookings/any?colour=red"), 400, "colour")


# Listing


async def test_a_list_has_pages_with_a_row_for_each_trip(api: Api, bookings: StandIn) -> None:
    first, second, third = (bookings.add(status) for status in ("booked", "running", "booked"))
    page = body_of(await api.get("/bookings?limit=2"))
    assert page["bookings"][0] == {
        **{str(kind): JOHN[kind] for kind in KINDS},
        "user_id": third.trip_id,
        "status": "booked",
        "name": "John Doe",
        "started_at": "2026-01-31T12:00:00Z",
        "closed_at": "2026-01-31T12:00:02Z",
        "links": body_of(await api.get(f"/bookings/{third.trip_id}"))["links"],
    }
    assert page["bookings"][1]["user_id"] == second.trip_id
    query = {"limit": 2, "cursor": page["next_cursor"]}
    last = body_of(await api.get("/bookings", query_string=query))
    assert [row["user_id"] for row in last["bookings"]] == [first.trip_id]
    assert last["next_cursor"] is None
    booked = body_of(await api.get("/bookings?status=booked"))["bookings"]
    assert [row["user_id"] for row in booked] == [third.trip_id, first.trip_id]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"limit={bad}", "limit") for bad in ("0", "101", "", "many", "9" * 400)),
        ("status=bogus", "status"),
        ("status=booked' OR 1=1 --", "status"),
        ("status=booked&status=booked", "status"),
        ("colour=red", "colour"),
        (f"cursor={'x' * 2_001}", "cursor"),
        ("cursor=nonsense", "cursor"),
    ],
)
async def test_a_bad_question_is_a_400_that_names_it(api: Api, query: str, field: str) -> None:
    assert_problem(await api.get(f"/bookings?{query}"), 400, field)


# Cancelling and repairing


async def test_a_cancel_answers_with_the_trip(api: Api, bookings: StandIn) -> None:
    path = f"/bookings/{bookings.add('booked').trip_id}"
    cancelled = await api.call("POST", f"{path}/cancel")
    assert (cancelled.status_code, body_of(cancelled)["status"]) == (200, "cancelled")
    assert "Location" not in cancelled.headers
    assert body_of(await api.get(path)) == body_of(cancelled)


async def test_a_cancel_that_goes_on_is_202_with_its_place_and_what_is_still_held(
    bookings: StandIn,
) -> None:
    trip = bookings.add("running", cancelled_at=NOON, reason="Cancelled")
    trip.steps[0].held = True
    path = f"/bookings/{trip.trip_id}"
    begun = await over(bookings, book_wait_seconds=0.05).call("POST", f"{path}/cancel")
    assert (begun.status_code, body_of(begun)["status"]) == (202, "running")
    assert begun.headers["Location"] == path
    assert body_of(begun)["reservations"] == {"car": "valid-car-id"}
    assert (body_of(begun)["reason"], body_of(begun)["closed_at"]) == ("Cancelled", None)
    assert body_of(begun)["links"]["web_ui"].endswith(f"/workflows/cancellation%3A{trip.trip_id}")


async def test_what_the_trips_state_does_not_allow_is_a_409(api: Api, bookings: StandIn) -> None:
    path = f"/bookings/{bookings.add('rolled_back').trip_id}"
    refused = await api.call("POST", f"{path}/cancel")
    assert_problem(refused, 409)
    assert "nothing is left to cancel" in refused.text
    assert_problem(await api.call("POST", f"{path}/undo/car/retry"), 409)
    assert_problem(await api.call("POST", f"{path}/undo/car/resolve", json=NOTE), 409)


async def test_an_operator_repairs_a_stuck_undo(api: Api, bookings: StandIn) -> None:
    path = f"/bookings/{bookings.add('needs_attention').trip_id}"
    body_of(await api.call("POST", f"{path}/undo/car/retry"))
    resolved = body_of(await api.call("POST", f"{path}/undo/hotel/resolve", json=NOTE))
    shown = [(step["state"], step["note"]) for step in resolved["steps"]]
    others = [("stuck", None)] * len(KINDS[2:])
    assert shown == [("undone", None), ("resolved", NOTE["note"]), *others]
    assert_problem(await api.call("POST", f"{path}/undo/boat/retry"), 404)
    for bad in ({}, *({"note": note} for note in (" ", "a\0b", "x" * 201, 5))):
        refused = await api.call("POST", f"{path}/undo/flight/resolve", json=bad)
        assert_problem(refused, 400, "note")
    assert_problem(await api.call("POST", f"{path}/undo/flight/resolve", data=b"{}"), 415)


# Health and what every answer carries


async def test_it_is_ready_unless_something_keeps_it_from_booking(
    api: Api, bookings: StandIn
) -> None:
    assert body_of(await api.get("/readyz")) == {"status": "ok"}
    bookings.obstacle = "No worker polls"
    unready = await api.get("/readyz")
    assert_problem(unready, 503)
    assert unready.json is not None and unready.json["detail"] == "No worker polls"
    assert body_of(await api.get("/livez")) == {"status": "ok"}


async def test_a_bug_is_a_500_that_tells_nothing_internal(
    api: Api, bookings: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    bookings.fails = LookupError("secret")
    response = await api.get("/bookings")
    assert_problem(response, 500)
    assert "secret" not in response.text
    assert "secret" in caplog.text, "The log has it"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/livez", b"", 200),
        ("GET", "/nowhere", b"", 401),
        ("POST", "/book", b"{", 400),
        ("POST", "/book", b" " * 20_000, 413),
        ("GET", "/bookings/x", b"", 404),
        ("DELETE", "/book", b"", 405),
        ("OPTIONS", "/book", b"", 200),
    ],
)
async def test_every_answer_carries_the_security_headers(
    bookings: StandIn, method: str, path: str, body: bytes, status: int
) -> None:
    keys = "shop:a-secret-of-shop-00" if status == 401 else ""
    app = app_over(bookings, api_keys=keys)
    response = await Api(app.test_client()).call(method, path, data=body, headers=JSON)
    assert response.status_code == status
    assert dict(response.headers).items() >= SECURITY_HEADERS.items()
