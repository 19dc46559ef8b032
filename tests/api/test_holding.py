"""What the API says of trips that are held until they are confirmed, and of prices."""

from typing import Any

import pytest

from api.examples import PRICE
from bookings import StepProgress
from shared import KINDS, Price, TripStatus
from tests.api.api_client import JOHN, Api, assert_problem, body_of, listed
from tests.api.stand_in import NOON, StandIn, over

HOLD = JOHN | {"hold_seconds": 900}
EURO = Price(**PRICE)
EXPIRES_AT = "2026-01-31T12:15:00Z"

EACH: dict[str, str] = {kind: f"{kind.capitalize()}: valid-{kind}-id" for kind in KINDS}


def confirming(user_id: str) -> tuple[str, str]:
    return "POST", f"/bookings/{user_id}/confirm"


def priced(price: Price | None) -> list[StepProgress]:
    """Return the steps of a held trip, each of which costs that."""
    return [StepProgress(kind, f"valid-{kind}-id", "held", 1, price=price) for kind in KINDS]


# Holding


async def test_a_held_trip_answers_until_when_and_what_it_costs(
    api: Api, bookings: StandIn
) -> None:
    bookings.becomes = "held"
    response = await api.book(HOLD, Idempotency_Key="once")
    (user_id,) = bookings.trips
    told = {"status": "held", "user_id": user_id, "expires_at": EXPIRES_AT, **EACH}
    assert (response.status_code, response.json) == (200, told)
    assert "Location" not in response.headers
    assert bookings.trips[user_id].request == HOLD

    bookings.set(user_id, "held", steps=priced(EURO))
    total = {"amount": f"{120 * len(KINDS)}.00", "currency": "EUR"}
    again = await api.book(HOLD, Idempotency_Key="once")
    assert (again.status_code, again.json) == (200, told | {"price": total})


@pytest.mark.parametrize("seconds", [60, 86_400, "900", 900.0])
async def test_a_trip_may_be_held_for_a_minute_to_a_day(
    api: Api, bookings: StandIn, seconds: Any
) -> None:
    body_of(await api.book(JOHN | {"hold_seconds": seconds}))
    (trip,) = bookings.trips.values()
    assert trip.request["hold_seconds"] == int(seconds)


@pytest.mark.parametrize(
    "seconds",
    [59, 0, -60, 86_401, 1e9, 900.5, True, None, "", "59", "1e3", "0900", "900 s", [900]],
)
async def test_it_may_be_held_for_no_other_time(api: Api, bookings: StandIn, seconds: Any) -> None:
    assert_problem(await api.book(JOHN | {"hold_seconds": seconds}), 400, "hold_seconds")
    assert bookings.trips == {}


@pytest.mark.parametrize("amount", ["0", "0.1", "120.00", "999999999999.9999"])
async def test_a_price_is_decimal_text(api: Api, bookings: StandIn, amount: str) -> None:
    wanted = JOHN | {"max_price": {"amount": amount, "currency": "EUR"}}
    body_of(await api.book(wanted))
    (trip,) = bookings.trips.values()
    assert trip.request == wanted


@pytest.mark.parametrize(
    ("price", "field"),
    [
        *(
            ({"amount": bad}, "max_price.amount")
            for bad in (120.0, 120, -1, "-1", "+1", "", "1.", ".5", "1,50", "1e2", "NaN", "1\n")
        ),
        *(({"amount": bad}, "max_price.amount") for bad in ("0.00001", "1" * 13, "٥", " 1", None)),
        *(({"currency": bad}, "max_price.currency") for bad in ("eur", "EURO", "€", "", "EU\n", 5)),
        ({"vat": "19"}, "max_price.vat"),
        ("120.00 EUR", "max_price"),
        ([], "max_price"),
        (120, "max_price"),
        (None, "max_price"),
    ],
    ids=ascii,
)
async def test_what_is_no_price_is_refused_by_its_name(
    api: Api, bookings: StandIn, price: Any, field: str
) -> None:
    wanted = PRICE | price if isinstance(price, dict) else price
    assert_problem(await api.book(JOHN | {"max_price": wanted}), 400, field)
    assert bookings.trips == {}


async def test_a_price_without_a_currency_is_refused(api: Api, bookings: StandIn) -> None:
    response = await api.book(JOHN | {"max_price": {"amount": "120.00"}})
    assert_problem(response, 400, "max_price.currency")


@pytest.mark.parametrize(
    "changes",
    [
        {"hold_seconds": 901},
        {"hold_seconds": None},
        {"max_price": {"amount": "120.01", "currency": "EUR"}},
        {"max_price": {"amount": "120.00", "currency": "USD"}},
        {"max_price": None},
    ],
    ids=str,
)
async def test_a_key_with_another_hold_or_price_is_a_422(
    api: Api, bookings: StandIn, changes: dict[str, Any]
) -> None:
    wanted = HOLD | {"max_price": PRICE}
    first = body_of(await api.book(wanted, Idempotency_Key="once"))
    asked = {name: value for name, value in (wanted | changes).items() if value is not None}
    assert_problem(await api.book(asked, Idempotency_Key="once"), 422)
    assert body_of(await api.book(wanted, Idempotency_Key="once")) == first
    assert len(bookings.trips) == 1


async def test_who_does_not_want_to_wait_for_a_hold_is_told_where_to_look(
    api: Api, bookings: StandIn
) -> None:
    bookings.becomes = "running"
    response = await api.book(HOLD, Prefer="respond-async", Idempotency_Key="once")
    assert (response.status_code, body_of(response)["status"]) == (202, "running")
    assert response.headers["Preference-Applied"] == "respond-async"
    bookings.set(body_of(response)["user_id"], "held")
    held = await api.book(HOLD, Prefer="respond-async", Idempotency_Key="once")
    assert (held.status_code, body_of(held)["status"]) == (200, "held")
    assert "Preference-Applied" not in held.headers


async def test_what_cannot_be_held_is_rolled_back_as_ever(api: Api, bookings: StandIn) -> None:
    bookings.becomes, bookings.reason = "rolled_back", "The hotel is sold out"
    assert body_of(await api.book(HOLD))["reason"] == "The hotel is sold out"


# Confirming


async def test_a_held_trip_is_confirmed_and_answers_as_a_booking(
    api: Api, bookings: StandIn
) -> None:
    trip = bookings.add("held", steps=priced(EURO))
    booked = body_of(await api.book(JOHN))
    response = await api.call(*confirming(trip.trip_id))
    assert (response.status_code, response.json) == (200, booked | {"user_id": trip.trip_id})
    again = await api.call(*confirming(trip.trip_id))
    assert (again.status_code, again.json) == (200, response.json)


async def test_the_answer_has_the_price_that_was_paid(api: Api, bookings: StandIn) -> None:
    trip = bookings.add("booked", confirmed_at=NOON, steps=priced(Price("0.1", "EUR")))
    told = body_of(await api.call(*confirming(trip.trip_id)))
    assert told["price"] == {"amount": f"0.{len(KINDS)}", "currency": "EUR"}


@pytest.mark.parametrize("status", ["rolled_back", "cancelled"])
async def test_a_confirmed_trip_that_could_not_be_booked_tells_why(
    api: Api, bookings: StandIn, status: TripStatus
) -> None:
    why = "The price of the hotel has changed from 120.00 EUR to 132.00 EUR"
    trip = bookings.add(status, confirmed_at=NOON, reason=why)
    for _ in range(2):
        response = await api.call(*confirming(trip.trip_id))
        assert (response.status_code, response.json) == (
            200,
            {
                "cancelled": True,
                "user_id": trip.trip_id,
                "result": "Voyage cancelled",
                "reason": why,
            },
        )


async def test_a_booked_trip_that_was_cancelled_later_tells_so(api: Api, bookings: StandIn) -> None:
    trip = bookings.add("cancelled", confirmed_at=NOON, booked_at=NOON, cancelled_at=NOON)
    told = body_of(await api.call(*confirming(trip.trip_id)))
    assert (told["cancelled"], told["cancelled_later"]) == (False, True)


@pytest.mark.parametrize("status", ["running", "needs_attention"])
async def test_a_confirm_that_outlasts_the_wait_is_202_with_its_place(
    bookings: StandIn, status: TripStatus
) -> None:
    trip = bookings.add(status, confirmed_at=NOON)
    response = await over(bookings, book_wait_seconds=0.05).call(*confirming(trip.trip_id))
    location = f"/bookings/{trip.trip_id}"
    assert (response.status_code, response.json) == (
        202,
        {"user_id": trip.trip_id, "status": status, "location": location},
    )
    assert response.headers["Location"] == location


@pytest.mark.parametrize(
    "status", ["running", "booked", "rolled_back", "expired", "cancelled", "needs_attention"]
)
async def test_what_is_not_held_cannot_be_confirmed(
    api: Api, bookings: StandIn, status: TripStatus
) -> None:
    trip = bookings.add(status)
    response = await api.call(*confirming(trip.trip_id))
    assert_problem(response, 409)
    assert response.json is not None and "not held" in response.json["detail"]
    assert bookings.trips[trip.trip_id] == trip


async def test_anothers_trip_cannot_be_confirmed(bookings: StandIn) -> None:
    api = over(bookings, api_keys="shop:secret-of-the-shop-1,other:secret-of-another-1")
    trip = bookings.add("held", "shop")
    own, others = (
        {"Authorization": f"Bearer secret-of-{name}-1"} for name in ("the-shop", "another")
    )
    for path in (trip.trip_id, "nobodys"):
        assert_problem(await api.call(*confirming(path), headers=others), 404)
    assert_problem(await api.call(*confirming(trip.trip_id)), 401)
    assert bookings.trips[trip.trip_id] == trip
    body_of(await api.call(*confirming(trip.trip_id), headers=own))


# Looking up


async def test_a_look_up_tells_until_when_a_trip_is_held_and_what_each_step_costs(
    api: Api, bookings: StandIn
) -> None:
    steps = priced(EURO)
    steps[1] = StepProgress(KINDS[1], "valid-hotel-id", "quoted", 1, price=EURO)
    trip = bookings.add("held", steps=steps)
    found = body_of(await api.get(f"/bookings/{trip.trip_id}"))
    assert (found["status"], found["closed_at"], found["expires_at"]) == ("held", None, EXPIRES_AT)
    assert found["price"] == {"amount": f"{120 * len(KINDS)}.00", "currency": "EUR"}
    assert [step["price"] for step in found["steps"]] == [PRICE] * len(KINDS)
    assert [step["state"] for step in found["steps"]][:3] == ["held", "quoted", "held"]


async def test_prices_of_which_one_is_missing_or_of_another_currency_are_not_summed(
    api: Api, bookings: StandIn
) -> None:
    for other in (None, Price("120.00", "USD")):
        steps = priced(EURO)
        steps[0] = StepProgress(KINDS[0], "valid-car-id", "held", 1, price=other)
        trip = bookings.add("held", steps=steps)
        found = body_of(await api.get(f"/bookings/{trip.trip_id}"))
        assert found["price"] is None
        assert found["steps"][1]["price"] == PRICE


async def test_a_refund_is_told(api: Api, bookings: StandIn) -> None:
    step = StepProgress(KINDS[0], "valid-car-id", "undone", 1, 1, price=EURO, refund=EURO)
    trip = bookings.add("cancelled", steps=[step])
    (told,) = body_of(await api.get(f"/bookings/{trip.trip_id}"))["steps"]
    assert (told["price"], told["refund"]) == (PRICE, PRICE)


async def test_the_list_tells_what_is_held_and_what_has_expired(
    api: Api, bookings: StandIn
) -> None:
    ids = {
        status: bookings.add(status).trip_id
        for status in ("held", "expired", "booked", "rolled_back")
    }
    for status in ("held", "expired"):
        (found,) = await listed(api, status=status)
        assert (found["user_id"], found["status"]) == (ids[status], status)


async def test_events_tell_that_a_trip_is_held_or_has_expired(api: Api, bookings: StandIn) -> None:
    bookings.happens(status="held")
    bookings.happens(status="expired")
    told = body_of(await api.get("/events"))["events"]
    assert [each["type"] for each in told] == ["trip.held", "trip.expired"]
